/* Every limit and measured number, in one place, with its reason. Role: read by all layers; depends on nothing. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* ---- What may be stored: the same on both stores, so that an export of one is always an import of the other ---- */
#define LIMIT_TYPE_BYTES 128      /* event and projection types: index keys stay small */
#define LIMIT_ID_BYTES 64         /* event ids: a ULID has 26, a UUID 36, `request/n` up to 64 */
#define LIMIT_REQUEST_ID_BYTES 56 /* leaves room for "/1234567" within an event id */
#define LIMIT_VALUE_BYTES 512     /* declared identifiers, view fields, instance ids: a B-tree entry must fit a third of a page */
#define LIMIT_NAME_BYTES 63       /* fields and tables: PostgreSQL cuts identifiers there */
#define LIMIT_EVENT_BYTES (16u << 20) /* data and metadata of one event together */
#define LIMIT_DEPTH 128               /* nesting of JSON and of states: our own recursion is bounded by it */

/* ---- How saves are grouped ---- */
#define LIMIT_GATHER_PART 8       /* a leader waits for callers to come back for an eighth of what a batch takes … */
#define LIMIT_GATHER_US 1000      /* … and at most this long: 32 callers then go together instead of 16 and 16 in turns */
#define LIMIT_QUEUE_LOOK_US 50000 /* who waits for a batch looks so often whether it was interrupted: a person notices no less */
#define LIMIT_BATCH_SAVES 64      /* more brings little: 44,500 events/s at 100 against 32,400 at 32 */
#define LIMIT_BATCH_EVENTS 1000
#define LIMIT_BATCH_BYTES (4u << 20)

/* ---- How events are read ---- */
#define LIMIT_PAGE_EVENTS 1000      /* a page of small events is about 250 KiB: memory stays flat, round trips rare */
#define LIMIT_PAGE_BYTES (4u << 20) /* where events are large, a page ends here */

#define LIMIT_STREAMS 256         /* in one selection: SQLite unites at most 500 SELECTs */
#define LIMIT_STREAM_VALUES 10000 /* types and filter values in one selection: SQLite takes 32,766 parameters, libpq 65,535 */
#define LIMIT_BRANCHES 64         /* places of an index merged by one statement: beyond, planning costs more than a sort */
#define LIMIT_BRANCH_VALUES 900   /* parameters of one stream so merged: 32 of them stay below those 32,766 */

/* ---- Scripts ---- */
#define LIMIT_BUDGET 10000000       /* VM instructions a handler call: about 0.1 s */
#define LIMIT_LOAD_BUDGET 100000000 /* and for loading an app */
#define LIMIT_HOOK_COUNT 1000       /* instructions between two looks at the budget: below 1,000 the hook itself costs */
#define LIMIT_SCRIPT_MEMORY (256u << 20)
#define LIMIT_SCRIPT_FILE_BYTES (4u << 20)
#define LIMIT_SCRIPT_FILES 4096
#define LIMIT_SCRIPT_PATH_BYTES 200 /* so that path:line fits into an error's `where` */
#define LIMIT_SCRIPT_DIRECTORIES 32 /* below one another */
#define LIMIT_LOG_LINE_BYTES 4096

/* ---- Commands ---- */
#define LIMIT_CALL_TRIES 8        /* a call that was overtaken so often answers `conflict` */
#define LIMIT_CALL_WAIT_US 1000   /* before the third try at most this, doubled for each after it: a commit takes about so long */
#define LIMIT_CALL_HOT_US 100000  /* so long after one was overtaken calls about the same take turns: a hundred commits */
#define LIMIT_CALL_TURN_US 200000 /* and one waits so long for its turn: then it goes without */

/* Of N processes that save into one instance which is kept inline, each commit overtakes all others: a try succeeds one time in N. Of 8
 * that never pause one save in 5,000 needs more tries than this. */
#define LIMIT_INLINE_TRIES 64
#define LIMIT_INLINE_WAITS 3 /* their pauses are doubled so often: longer ones only let the others in */

/* ---- Scripts that change while the program runs ---- */
#define LIMIT_RELOAD_LOOK_US 200000    /* calls look for changes at most so often: who edits does not feel it, a call neither */
#define LIMIT_RELOAD_SETTLE_US 100000  /* files that nobody touched for so long are written: git and editors need a few ms */
#define LIMIT_RELOAD_POLL_US 2000000   /* where the directories cannot be watched all files are read so often */
#define LIMIT_RELOAD_DOUBT_US 10000000 /* and so often where they can: a mount from another machine tells of nothing */
#define LIMIT_RELOAD_SHARE 100         /* reading without a hint takes at most a hundredth of the time, however large the app */
#define LIMIT_RELOAD_DIRECTORIES 1024  /* are watched; some machines give a user 8,192 watches for everything */
#define LIMIT_RELOAD_LINKS 8           /* symbolic links on the way to the directory that are watched too */
#define LIMIT_RELOAD_READINGS 5        /* until two in a row are the same: then nobody was in the middle of a change */

/* ---- JSON ---- */
#define LIMIT_JSON_SCRATCH_BYTES (256u << 10) /* kept between calls: fits any usual payload, and is small beside a Lua state */
#define LIMIT_JSON_KEYS 128     /* remembered to spare their hashing: an app's events have some dozens; a power of two */
#define LIMIT_JSON_KEY_BYTES 32 /* remembered at most: longer ones are seldom, and beyond 40 Lua does not intern them */
#define LIMIT_JSON_PENDING 32   /* members gathered before their table is made in its final size: events and views have fewer */

/* ---- Time ---- */
#define LIMIT_TIMEOUT_SECONDS 30.0
#define LIMIT_LOCK_TIMEOUT_SECONDS 10.0
#define LIMIT_TIMEOUT_MOST_SECONDS 2000000.0 /* of both: PostgreSQL counts milliseconds in 31 bits, which ends after 24 days */

#define LIMIT_AWAKE_US 400 /* answers that usually take no longer are waited for awake: sleeping costs 50 to 100 of it */

#define LIMIT_CONNECTIONS 8
#define LIMIT_CACHE_BYTES (64u << 20)

/* ---- What is kept in the background ---- */
#define LIMIT_PIECE_EVENTS 2000 /* the first piece of a worker's that has much to do; later ones by how long they took … */
#define LIMIT_PIECE_EVENTS_MOST 200000 /* … up to this: more at a time spares little, and is lost when the worker is killed */
#define LIMIT_PIECE_BYTES (32u << 20)  /* of events in memory */
#define LIMIT_PIECE_US 500000          /* what a piece should take: others wait for its rows, and a lock is held on PostgreSQL */
#define LIMIT_PIECE_STATES (64u << 20) /* bytes of states in memory */
#define LIMIT_KEEP_PIECE_US 1000000    /* a piece that takes longer says so often that it goes on */
#define LIMIT_OVERTAKEN_US 3000000     /* who was overtaken leaves a set to others for as long as it moves every so often */
#define LIMIT_GIVE_WAY_EVENTS 10000 /* a set that is to be served and so little behind is about to: the served one's worker … */
#define LIMIT_GIVE_WAY_US 1000000   /* … stands still, as long as that set moves every so often, … */
#define LIMIT_STAND_US 3000000      /* … but not longer than this, in which some ten thousand events are folded, … */
#define LIMIT_STAND_SHARE 10        /* … and not again before so many times as long */
#define LIMIT_SET_UNUSED_US                                                                                                      \
  (INT64_C(7) * 24 * 3600 * 1000000)                   /* a set that nobody uses is kept for a week: to go back to old code */
#define LIMIT_CLEAN_EVERY_US (INT64_C(3600) * 1000000) /* and that is looked at so often */
#define LIMIT_CHUNK_EVENTS 200000                      /* of a rebuild, to begin with; later by how long one took … */
#define LIMIT_CHUNK_US 3000000                         /* … which should be this at most: so often progress is told */
#define LIMIT_COMMIT_US 5000000                        /* what a rebuild has done since is done again after a crash … */
#define LIMIT_COMMIT_SHARE 10      /* … or more, where writing it down takes more than this part of the time */
#define LIMIT_CATCH_UP_EVENTS 1000 /* so few newer events are left to the worker */
#define LIMIT_CATCH_UPS 20         /* rounds after the first: with each there is less to do */
#define LIMIT_JOBS 256             /* threads of a rebuild */
#define LIMIT_RUN_SLICE_US                                                                                                       \
  250000 /* at which a worker looks around without a hint: whether scripts changed, or another worker died */

/* ---- The command ---- */
#define LIMIT_CONFIG_BYTES (64u << 10)                     /* annal.lua is a dozen settings */
#define LIMIT_CONFIG_MEMORY (8u << 20)                     /* and making them needs no more */
#define LIMIT_CONFIG_BUDGET 1000000                        /* VM instructions: a loop without end stops within 10 ms */
#define LIMIT_IMPORT_LINE (6u * (16u << 20) + (64u << 10)) /* the largest event with every byte of it escaped as \u00xx */
#define LIMIT_TREE_EVENTS 10000                            /* shown as a tree, for which all of them are in memory */
#define LIMIT_REPL_HISTORY 2000                            /* lines kept from session to session */
#define LIMIT_REPL_IDS 200 /* newest events looked through to complete an id: one page, so that TAB answers at once */

#endif
