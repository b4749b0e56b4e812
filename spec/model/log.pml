/* The protocol of the log, as a model for spin: append, batch, lost connection, crash, follow, saved row.
 *
 * Three saves, each guarded by "nothing newer than what I read" over the whole log. Saves 1 and 2 come from one process, whose
 * leader sends them as one batch; save 3 comes from another. A third process follows; a fourth keeps a saved row. With
 * -DWITH_REPLICA there is a second server, which lags, and the follower looks and reads on either. With -DWITH_TROUBLE a trigger
 * refuses save 3 or does not, as it likes.
 *
 * What is asserted, in every order of steps that can happen:
 *   lost      what was answered as stored is in the log, at that position
 *   doubled   no id stands in the log twice
 *   phantom   what was answered as refused is not in the log
 *   condition an accepted save's reader had seen exactly the events below it
 *   skipped   the follower was given exactly the log, in its order
 *   fold      the continued fold equals the fold from the first event; the row never moves backwards
 *
 * Each rule has a variant without it (-D…), for which spin must find a counterexample:
 *   NO_LOCK            saves check and write without the one lock
 *   CHECK_BEFORE_LOCK  the snapshot that conditions are checked on is older than the lock
 *   UNLOCK_EARLY       the lock ends before the commit does
 *   SEQUENCE           positions are drawn when a row is inserted, not under the lock
 *   CONDITION_FIRST    the condition is looked at before the ids
 *   NEW_IDS            a save is sent again under new ids
 *   LOOK_UP            a lost connection is settled by looking whether the ids are stored
 *   RESEND_OVER_ORPHAN a save is sent again while the server process that it left behind may still store it
 *   BLIND_BATCH        saves of one batch do not see each other
 *   PARTIAL_BATCH      an error in a batch leaves what came before it stored, and is the answer to all
 *   ASYNC_COMMIT       what is acknowledged and visible is not yet durable
 *   ROW_BACKWARDS      a saved row gives way to any other
 *   BLIND_PAGE         a page counts although its server has not come as far as the head up to which it is read
 * With -DFAILOVER a standby that lacks the newest event takes over once, so that positions are given out again (what was
 * acknowledged may then be gone, as on any asynchronous standby; what remains must still be consistent), and:
 *   POSITION_CONDITION a condition names a position instead of an id
 *   POSITION_CURSOR    a follower keeps a position without the id
 *   POSITION_ROW       a saved row keeps a position without the id
 */

#define SAVES 3
#define SLOTS 8 /* positions; more than can be used */
#define LINKS 12 /* connections ever opened */

#ifndef LOSSES
#define LOSSES 0
#endif

#ifndef ROUNDS
#define ROUNDS 2
#endif

#define PENDING 0
#define STORED 1
#define CONFLICT 2
#define FAILED 3 /* the save's own content was refused */

/* ---- The database ---- */
byte log_id[SLOTS]; /* the event at a position, from 1; 0: none that is visible */
byte head;          /* the newest visible position */
byte durable;       /* what survives a crash of the server */
byte drawn;         /* SEQUENCE: positions given out */
bool locked;
byte epoch;         /* server starts; a backend of an older one is dead */

/* ---- The clients ---- */
typedef Seen {
  byte id[SLOTS];
  byte head
};
Seen seen[SAVES + 1];
byte result[SAVES + 1];
byte stored_at[SAVES + 1];
bool bad[SAVES + 1]; /* content that the database refuses */

/* ---- Connections ---- */
bool answered[LINKS];
bool cut[LINKS];
bool ended[LINKS]; /* the server process was told to end */
byte links;
byte answer_result[LINKS * 4]; /* by connection and save */
byte answer_at[LINKS * 4];
bool answer_error[LINKS];

bool failed_over;
byte losses = LOSSES; /* connections that may yet be lost */
byte writers_left = 2;

inline read_all(s) {
  d_step {
    seen[s].head = head;
    k = 1;
    do
    :: k <= head -> seen[s].id[k] = log_id[k]; k++
    :: else -> break
    od;
    k = 0
  }
}

/* Where the id of save s stands among the visible events up to `base` and this batch's own; 0: nowhere. */
inline find(what) {
  at = 0;
  k = 1;
  do
  :: k <= base -> if :: log_id[k] == what -> at = k :: else fi; k++
  :: else -> break
  od;
#ifndef BLIND_BATCH
  k = 0;
  do
  :: k < own -> if :: mine[k] == what -> at = base + 1 + k :: else fi; k++
  :: else -> break
  od;
#endif
  k = 0
}

inline note(s, verdict, position) {
  answer_result[link * 4 + s] = verdict;
  answer_at[link * 4 + s] = position
}

/* The condition of save s: what it saw last must be stored, and nothing may lie above it. Sets `ok`. */
inline check_condition(s) {
  if
  :: bad[s] -> ok = true; at = 0 /* it has none */
  :: else ->
#ifdef POSITION_CONDITION
  at = seen[s].head;
  ok = true;
#else
  if
  :: seen[s].head == 0 -> at = 0; ok = true
  :: else -> find(seen[s].id[seen[s].head]); ok = (at != 0)
  fi;
#endif
#ifdef BLIND_BATCH
  ok = ok && (base <= at)
#else
  ok = ok && (base + own <= at)
#endif
  fi
}

/* One save of a batch. The ids are looked at before the condition. */
inline consider(s, as) {
  d_step {
    ok = true;
    at = 0;
#ifdef CONDITION_FIRST
    check_condition(s);
    if
    :: !ok -> note(s, CONFLICT, 0); at = 0
    :: else -> find(as)
    fi;
#else
    find(as);
#endif
    if
    :: ok && at != 0 -> note(s, STORED, at)
    :: ok && at == 0 ->
      check_condition(s);
      if
      :: !ok -> note(s, CONFLICT, 0)
      :: ok && (bad[s] || (moody && s == 3)) -> failing = true
      :: ok && !(bad[s] || (moody && s == 3)) ->
        mine[own] = as;
        own++;
        note(s, STORED, base + own)
      fi
    :: else
    fi;
    at = 0
  }
}

/* A server process that carries out one call: saves first … last. It may be orphaned: its client is gone, it goes on. */
proctype Backend(byte link, first, last, shift) {
  byte base, own, at, k, s, born, mine[2];
  bool ok, failing, holding, moody;
  born = epoch;
#ifdef WITH_TROUBLE
  if
  :: moody = true
  :: moody = false
  fi;
#endif

#ifdef CHECK_BEFORE_LOCK
  base = head;
#endif
#if !defined(NO_LOCK) && !defined(SEQUENCE)
  atomic {
    if
    :: !locked && epoch == born && !ended[link] -> locked = true; holding = true
    :: epoch != born || ended[link] -> goto dead
    :: cut[link] -> goto dead /* the server noticed that its client is gone */
    fi
  }
#endif
#ifndef CHECK_BEFORE_LOCK
  base = head;
#endif

  s = first;
  do
  :: s <= last && !failing -> consider(s, s + shift); s++
  :: else -> break
  od;

#ifdef SEQUENCE
  atomic { drawn = drawn + own; base = drawn - own; }
#endif
#ifdef UNLOCK_EARLY
  atomic { if :: holding && epoch == born -> locked = false; holding = false :: else fi }
#endif

  /* The commit: all of it becomes visible, and durable, in one moment; or nothing. */
  atomic {
    if
    :: epoch != born -> goto dead
    :: cut[link] -> goto rollback
    :: epoch == born && failing ->
      answer_error[link] = true;
#ifndef PARTIAL_BATCH
      own = 0
#endif
    :: epoch == born && !failing
    fi;
    at = 0;
    do
    :: at < own ->
#ifdef SEQUENCE
      base++;
      s = base;
#else
      s = head + 1;
#endif
      log_id[s] = mine[at];
      if :: s > head -> head = s :: else fi;
      answer_at[link * 4 + mine[at] - shift] = s;
#ifndef SEQUENCE
      /* condition: the reader of an accepted save had seen exactly what lies below it. */
      k = 1;
      do
      :: k < s -> assert(seen[mine[at] - shift].id[k] == log_id[k]); k++
      :: else -> break
      od;
#endif
      at++
    :: else -> break
    od;
    k = 0;
    at = 0;
#ifndef ASYNC_COMMIT
    durable = head;
#endif
    if :: holding -> locked = false; holding = false :: else fi;
    answered[link] = true;
    if :: cut[link] -> note(1, 0, 0); note(2, 0, 0); note(3, 0, 0) :: else fi /* nobody reads it */
  }
  goto dead;

rollback:
  atomic { if :: holding && epoch == born -> locked = false; holding = false :: else fi }
dead:
  skip;
  d_step {
    base = 0; own = 0; s = 0; at = 0; ok = false; failing = false; moody = false; mine[0] = 0; mine[1] = 0; first = 0; last = 0; link = 0
  }
}

/* Sends saves first … last in one call, and settles a lost connection by sending them again under the same ids, when what it left
 * behind has been ended. That is done under the lock: an orphan that has it is waited for. */
inline send(first, last) {
  shift = 0;
again:
  atomic { link = links; links++; run Backend(link, first, last, shift) }
  if
  :: answered[link] -> skip
  :: atomic {
      !answered[link] && (losses > 0 || epoch != mine) -> /* the connection is gone, whatever becomes of the backend */
      cut[link] = true;
      if :: epoch == mine -> losses-- :: else -> mine = epoch fi;
#ifdef NEW_IDS
      shift = SAVES;
#endif
    };
    goto lost
  fi;
  goto settled;
lost:
#ifdef LOOK_UP
  skip;
  d_step {
    s = first;
    do
    :: s <= last ->
      answer_result[link * 4 + s] = CONFLICT; /* "not stored", says the look-up */
      k = 1;
      do
      :: k <= head -> if :: log_id[k] == s -> answer_result[link * 4 + s] = STORED; answer_at[link * 4 + s] = k :: else fi; k++
      :: else -> break
      od;
      s++
    :: else -> break
    od;
    k = 0
  }
  goto settled;
#else
#ifndef RESEND_OVER_ORPHAN
  atomic { !locked -> ended[link] = true };
#endif
  goto again;
#endif
settled:
  skip
}

inline take_answer(s) {
  result[s] = answer_result[link * 4 + s];
  stored_at[s] = answer_at[link * 4 + s];
  answer_result[link * 4 + s] = 0; /* what is not needed any more must not tell states apart */
  answer_at[link * 4 + s] = 0
}

/* Two callers of one process: one leads, and sends the batch for both. */
proctype Batching() {
  byte link, s, k, mine, shift;
  read_all(1);
  read_all(2);
#ifdef WITH_ERROR
  bad[2] = true;
#endif
  send(1, 2);
  if
  :: answer_error[link] -> /* nothing was stored: one at a time, so that only the culprit gets the error */
#ifdef PARTIAL_BATCH
    result[1] = FAILED;
    result[2] = FAILED
#else
    goto single
#endif
  :: else -> d_step { take_answer(1); take_answer(2) }
  fi;
  goto done;
single:
  atomic { link = links; links++; run Backend(link, 1, 1, 0) }
  if
  :: answered[link] -> take_answer(1)
  :: epoch != mine -> mine = epoch; goto single
  fi;
single_second:
  atomic { link = links; links++; run Backend(link, 2, 2, 0) }
  if
  :: answered[link] ->
    if
    :: answer_error[link] -> result[2] = FAILED
    :: else -> take_answer(2)
    fi
  :: epoch != mine -> mine = epoch; goto single_second
  fi;
done:
  writers_left--
}

proctype Alone() {
  byte link, s, k, mine, shift;
  read_all(3);
  send(3, 3);
  d_step {
    if
    :: answer_error[link] -> result[3] = FAILED
    :: else -> take_answer(3)
    fi
  };
  writers_left--
}

/* kill -9 of the server: every backend dies, the lock with it, and what was not durable is gone. */
proctype Crash() {
  atomic {
    if
    :: true ->
      epoch++;
      locked = false;
      do
      :: head > durable -> log_id[head] = 0; head--
      :: else -> break
      od
    :: true
    fi
  }
}

/* A standby without the newest event takes over. */
proctype Failover() {
  atomic {
    if
    :: head > 0 ->
      epoch++;
      locked = false;
      log_id[head] = 0;
      head--;
      durable = head;
      failed_over = true
    :: true
    fi
  }
}

/* Follows from the first event; keeps position and id of the last event read, and checks them with every page, in one snapshot. Where
 * nothing stands at that position it waits: a server may lag. */
proctype Follower() {
  byte cursor, cursor_id, k;
  byte given[SLOTS];
  byte count;
  bool finished;
  do
  :: !finished ->
    atomic {
      finished = (writers_left == 0);
      if
#ifndef POSITION_CURSOR
      :: cursor > 0 && cursor <= head && log_id[cursor] != cursor_id -> goto raised /* `conflict`, never a silent skip */
#endif
      :: else ->
        k = cursor + 1;
        do
        :: k <= head ->
          if
          :: log_id[k] != 0 -> given[k] = log_id[k]; count++; cursor = k; cursor_id = log_id[k]
          :: else
          fi;
          k++
        :: else -> break
        od;
        /* skipped: what was given up to here is the log, as it is now. */
        k = 1;
        do
        :: k <= head && !(failed_over && cursor > head) -> assert(given[k] == log_id[k]); k++
        :: else -> break
        od
      fi
    }
  :: else -> break
  od;
  assert(count == head || failed_over);
raised:
  skip
}

/* The second server: it has what the first has, later. */
byte replica;

proctype Replicate() {
  do
  :: replica < head -> replica++
  :: writers_left == 0 && replica == head -> break
  od
}

/* Looks at the head on one server, and reads up to it on one or the other. */
proctype BetweenServers() {
  byte cursor, cursor_id, k, up_to, up_to_id, page;
  byte given[SLOTS];
  byte count;
  do
  :: writers_left == 0 && cursor == head -> break
  :: else ->
    atomic {
      if
      :: up_to = head
      :: up_to = replica
      fi;
      up_to_id = log_id[up_to]
    };
    atomic {
      if
      :: page = head
      :: page = replica
      fi;
      if
      :: up_to <= cursor -> skip /* nothing new, or a server that lags: it waits */
#ifndef BLIND_PAGE
      :: up_to > cursor && page < up_to -> skip /* this page does not count: it is asked for again */
      :: up_to > cursor && page >= up_to ->
#else
      :: up_to > cursor ->
#endif
        k = cursor + 1;
        do
        :: k <= up_to && k <= page -> given[k] = log_id[k]; count++; k++
        :: else -> break
        od;
        cursor = up_to;
        cursor_id = up_to_id
      fi;
      k = 0
    }
  od;
  assert(count == head);
  k = 1;
  do
  :: k <= head -> assert(given[k] == log_id[k]); k++
  :: else -> break
  od
}

/* Two workers keep one saved row: each reads it, goes on from it, and writes what it has, later. */
byte row_position, row_id;
Seen row_state; /* the state is the list of events it was folded from */
byte row_highest;

proctype Folder() {
  byte position, id, k, rounds = ROUNDS;
  Seen state;
  do
  :: rounds > 0 ->
    rounds--;
    d_step {
      position = row_position;
      id = row_id;
#ifndef POSITION_ROW
      if :: position > 0 && log_id[position] != id -> position = 0 :: else fi; /* not the event it was made with: from the first */
#endif
      k = 1;
      do
      :: k < SLOTS ->
        if
        :: k <= position -> state.id[k] = row_state.id[k]
        :: k > position && k <= head -> state.id[k] = log_id[k]
        :: else -> state.id[k] = 0
        fi;
        k++
      :: else -> break
      od;
      if :: head > position -> position = head :: else fi;
      id = log_id[position];
      /* fold: continued or not, it is the fold of the log. */
      k = 1;
      do
      :: k <= head -> assert(state.id[k] == log_id[k]); k++
      :: else -> break
      od;
      k = 0
    };
    d_step {
#ifdef ROW_BACKWARDS
      if
      :: position > 0
#else
      if
      :: position > row_position
#endif
        ->
        row_position = position;
        row_id = id;
        k = 1;
        do
        :: k < SLOTS -> row_state.id[k] = state.id[k]; k++
        :: else -> break
        od;
        k = 0
      :: else
      fi;
      assert(row_position >= row_highest); /* never backwards */
      row_highest = row_position
    }
  :: else -> break
  od
}

/* When all is quiet: what the callers were told, held against the log. */
proctype Auditor() {
  byte s, k, found;
  writers_left == 0;
  atomic {
    s = 1;
    do
    :: s <= SAVES ->
      found = 0;
      k = 1;
      do
      :: k < SLOTS ->
        if
        :: log_id[k] == s -> found++
#ifdef NEW_IDS
        :: log_id[k] == s + SAVES -> found++
#endif
        :: else
        fi;
        k++
      :: else -> break
      od;
      assert(found <= 1); /* doubled */
      if
      :: result[s] == STORED && !failed_over -> assert(found == 1 && (log_id[stored_at[s]] - 1) % SAVES + 1 == s) /* lost */
      :: result[s] == CONFLICT -> assert(found == 0) /* phantom */
      :: result[s] == FAILED -> assert(found == 0)
      :: else
      fi;
      s++
    :: else -> break
    od
  }
}

/* An orphaned backend may store later than the answer: so refused saves are watched for ever. */
#if defined(LOOK_UP) || defined(WITH_TROUBLE)
proctype Late() {
  byte k;
end:
  do
  :: atomic {
      k = 1;
      do
      :: k <= head -> assert(result[log_id[k]] != CONFLICT && result[log_id[k]] != FAILED); k++
      :: else -> break
      od;
      break
    }
  od
}
#endif

init {
  atomic {
    run Batching();
    run Alone();
#ifdef FAILOVER
    run Failover();
#endif
#ifdef WITH_CRASH
    run Crash();
#endif
#ifdef WITH_FOLLOWER
    run Follower();
#endif
#ifdef WITH_REPLICA
    run Replicate();
    run BetweenServers();
#endif
#ifdef WITH_ROW
    run Folder();
    run Folder();
#endif
    run Auditor();
#if defined(LOOK_UP) || defined(WITH_TROUBLE)
    run Late()
#endif
  }
}
