-- The append: the only way into @events@ for everybody but the owner. Called as one statement, in its own implicit transaction.
--
-- One lock orders all saves of the store: it is taken in a statement of its own, so that every later statement of this VOLATILE
-- function has a snapshot younger than the lock, and it is held until the commit has ended. Position order is commit order.
--
-- A call brings any number of saves. Each in turn: its ids, its condition, its events; later ones see earlier ones. Events are
-- inserted as late as possible, many at a time: where a save might touch an earlier one of the same call, `flushes` says so.
-- Lists within lists are flat arrays with an array of starts: the n-th list is [starts[n] : starts[n + 1] - 1].
--
-- The table is its owner's, who may have put triggers on it. One that refuses an event raises an error; one that drops it, or gives
-- it another id or position, would make an acknowledged event vanish: so what the table has taken is looked at and counted.
create or replace function @append@(
  save_starts    int[],          -- events of each save
  flushes        boolean[],      -- null: no save touches an earlier one of this call
  event_ids      text[],
  event_types    text[],
  event_versions int[],
  event_data     json[],
  event_metadata json[],         -- null: none has any
  event_times    timestamptz[],  -- null, or null in it: the store's clock; else kept (import)
  stream_starts  int[],          -- streams of each save's condition; null: none has one, and all that follow are null
  after_ids      text[],         -- of each stream: the newest event its reader saw; null: no match may exist
  leads          text[],         -- of each stream: its first field where that is declared, else null
  alones         boolean[],      -- of each stream: at most one field, and no value that a JSON container could equal
  type_starts    int[],
  stream_types   text[],
  field_starts   int[],          -- a declared field first, where a stream has one
  field_names    text[],
  value_starts   int[],
  field_values   text[],
  lock_ms        int,            -- how long to wait for the lock; null: as below
  host_clock     timestamptz     -- for tests, in the place of the server's clock; the owner's alone, null for others
) returns @answer@ language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '10s'
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $append$
declare
  locked       boolean;
  short        boolean;
  saves        int;
  results      int[];
  numbers      int[];
  positions    bigint[];
  times        timestamptz[];
  ids          text[];
  found_positions bigint[];
  found_times  timestamptz[];
  head         bigint;           -- of what is inserted
  next         bigint;           -- position of the next event
  newest_at    timestamptz;      -- created_at of the newest event
  known        boolean;          -- some id of this call is stored
  clock        timestamptz;
  undecided    int := 1;         -- first save of which it is not yet said what becomes of it
  pending      int := 1;         -- first event that is accepted and not yet inserted …
  pending_end  int := 1;         -- … and one past the last
  kept         int;              -- events that the table has taken as they were given
  first        int;              -- events of this save
  past         int;
  result       int;
  asked        boolean;          -- some id of it is stored
  stored       int;              -- of its ids, and how many with equal content
  equal        int;
  found        bigint[];
  found_at     timestamptz[];
  newer        bigint;
  newers       bigint[];         -- of each stream, before this call inserts anything
  culprit      int;              -- what a refusal names
  culprit_at   bigint;
  culprit_id   text;
begin
  if current_setting('transaction_isolation') <> 'read committed' or current_setting('synchronous_commit') = 'off'
     or lock_ms is not null then
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'annal appends at isolation level read committed only, not %', current_setting('transaction_isolation')
        using errcode = 'invalid_transaction_state';
    end if;
    if current_setting('synchronous_commit') = 'off' then
      -- What is visible must be durable: nobody may see this commit before it is on disk.
      perform set_config('synchronous_commit', 'on', true);
    end if;
    perform set_config('lock_timeout', lock_ms::text, true) where lock_ms is not null;
  end if;
  locked := pg_advisory_xact_lock(@lock@, @events_literal@::regclass::oid::int) is null;

  select e.position + 1, greatest(clock_timestamp(), e.created_at), e.created_at,
         exists (select from @events@ k where k.id = any (event_ids))
    into next, clock, newest_at, known
    from @events@ e order by e.position desc limit 1;

  saves := array_length(save_starts, 1) - 1;
  next := coalesce(next, 1);
  known := coalesce(known, false);
  clock := coalesce(clock, clock_timestamp());
  if host_clock is not null and pg_has_role(session_user, current_user, 'usage') then
    clock := greatest(host_clock, newest_at);
  end if;
  head := next - 1;
  if stream_starts is not null then
    newers := @newers@(after_ids, leads, alones, type_starts, stream_types, field_starts, field_names, value_starts,
                       field_values);
  end if;

  -- Where nothing can be refused and no save can touch another, what all saves come to is said at once: in PL/pgSQL the steps below
  -- cost more than the events.
  if flushes is null and not known and event_times is null and coalesce(array_remove(newers, null), '{}') = '{}' then
    positions := array[next];
    times := array[clock];
    pending_end := save_starts[saves + 1];
    next := head + pending_end;
    undecided := saves + 1;
  end if;

  for save in undecided .. saves + 1 loop
    if pending < pending_end and (save > saves or flushes[save] or pending_end < save_starts[save]) then
      if pending_end = pending + 1 then
        insert into @events@ (position, id, type, version, data, metadata, created_at)
          values (head + 1, event_ids[pending], event_types[pending], event_versions[pending], event_data[pending],
                  event_metadata[pending], coalesce(event_times[pending], clock))
          returning (position = head + 1 and id = event_ids[pending])::int into kept;
      else
        with taken as (
          insert into @events@ (position, id, type, version, data, metadata, created_at)
            select head + n.place, n.id, n.type, n.version, n.data, n.metadata, coalesce(n.kept, clock)
              from unnest(event_ids[pending : pending_end - 1], event_types[pending : pending_end - 1],
                          event_versions[pending : pending_end - 1], event_data[pending : pending_end - 1],
                          event_metadata[pending : pending_end - 1], event_times[pending : pending_end - 1])
                   with ordinality as n (id, type, version, data, metadata, kept, place)
            returning position, id
        )
        select count(*) filter (where t.id = event_ids[pending + (t.position - head)::int - 1]) into kept from taken t;
      end if;
      if kept is distinct from pending_end - pending then
        raise exception 'a trigger or a rule on the table of events dropped or changed an event; nothing of the save was stored';
      end if;
      head := next - 1;
      pending := pending_end;
    end if;
    exit when save > saves;
    first := save_starts[save];
    past := save_starts[save + 1];
    result := 0;

    -- 1. Its ids: all stored with equal content is the answer to a retry.
    asked := known;
    if flushes[save] and not asked then
      select exists (select from @events@ e where e.id = any (event_ids[first : past - 1])) into asked;
    end if;
    if asked then
      select count(*), count(*) filter (where s.equal), array_agg(s.position order by s.number),
             array_agg(s.created_at order by s.number), (array_agg(s.number order by s.equal, s.number))[1],
             (array_agg(s.position order by s.equal, s.number))[1]
        into stored, equal, found, found_at, culprit, culprit_at
        from (select n.number, e.position, e.created_at, e.type = n.type and e.version = n.version
                     and e.data::text = n.data::text and e.metadata::text is not distinct from n.metadata::text as equal
                from unnest(event_ids[first : past - 1], event_types[first : past - 1], event_versions[first : past - 1],
                            event_data[first : past - 1], event_metadata[first : past - 1])
                     with ordinality as n (id, type, version, data, metadata, number)
                join @events@ e on e.id = n.id) s;
      if stored = past - first and equal = stored then
        result := 1;
        found_positions := found_positions || found;
        found_times := found_times || found_at;
      elsif stored > 0 then
        result := case when equal < stored then 4 else 5 end;
        numbers[save] := culprit;
        positions[save] := culprit_at;
        if result = 5 then
          select n.id into culprit_id from unnest(event_ids[first : past - 1]) as n (id)
           where not exists (select from @events@ e where e.id = n.id) limit 1;
          ids[save] := culprit_id;
        end if;
      end if;
    end if;

    -- 2. Its condition: each id it names must be stored, and nothing that matches may lie above.
    if result = 0 and stream_starts is not null then
      for stream in stream_starts[save] .. stream_starts[save + 1] - 1 loop
        newer := newers[stream];
        if flushes[save] then
          newer := @newer@(stream, after_ids, leads, alones, type_starts, stream_types, field_starts, field_names, value_starts,
                           field_values);
        end if;
        if newer is not null then
          result := case when newer = 0 then 3 else 2 end;
          numbers[save] := stream - stream_starts[save] + 1;
          positions[save] := newer;
          select e.id into culprit_id from @events@ e where e.position = newer;
          ids[save] := culprit_id;
          exit;
        end if;
      end loop;
    end if;

    -- 3. Its events. Kept times rise within a save (the caller has looked), so the first and the last decide.
    if result = 0 and event_times[first] is not null then
      if event_times[first] < newest_at then
        result := 6;
        times[save] := newest_at;
      elsif event_times[past - 1] > clock then
        result := 7;
        times[save] := clock;
      end if;
    end if;
    results[save] := result;
    if result = 0 then
      positions[save] := next;
      newest_at := coalesce(event_times[past - 1], clock);
      times[save] := newest_at;
      next := next + past - first;
      if pending = pending_end then
        pending := first;
      end if;
      pending_end := past;
    end if;
  end loop;
  return row(results, numbers, positions, times, ids, found_positions, found_times)::@answer@;
end
$append$;
