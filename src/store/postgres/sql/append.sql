-- The append: the only way into @events@ for everybody but the owner. Called as one statement, in its own implicit transaction.
--
-- One lock orders all saves of the store: it is taken in a statement of its own, so that every later statement of this VOLATILE
-- function has a snapshot younger than the lock, and it is held until the commit has ended. Position order is commit order.
--
-- A call brings any number of saves. Each in turn: its ids, its condition, its events; later ones see earlier ones. Events are
-- inserted as late as possible, many at a time: where a save might touch an earlier one of the same call, `flushes` says so.
-- Lists within lists are flat arrays with an array of starts: the n-th list is [starts[n] : starts[n + 1] - 1].
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
  alones         boolean[],      -- of each stream: at most one field, and no value that a JSON container could equal
  type_starts    int[],
  stream_types   text[],
  field_starts   int[],          -- a declared field first, where a stream has one
  field_names    text[],
  value_starts   int[],
  field_values   text[],
  lock_ms        int,            -- how long to wait for the lock; null: as below
  host_clock     timestamptz,    -- for tests, in the place of the server's clock; the owner's alone, null for others
  out results    int[],          -- 0 stored, 1 was stored, 2 conflict, 3 conflict: the id is not stored, 4 duplicate,
                                 -- 5 only some are stored, 6 time before the newest event's, 7 time in the future
  out numbers    int[],          -- where refused: which stream (2, 3) or event (4, 5) of the save, from 1
  out positions  bigint[],       -- stored: of the first event; 2: of the newer event; 4, 5: of the stored one
  out times      timestamptz[],  -- stored: created_at; 6: the newest event's; 7: the clock's
  out ids        text[],         -- 2: of the newer event; 5: of one that is not stored
  out found_positions bigint[],  -- of each event of each save that was stored before
  out found_times     timestamptz[]
) language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '10s'
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $append$
declare
  saves        constant int := array_length(save_starts, 1) - 1;
  head         bigint;           -- of what is inserted
  next         bigint;           -- position of the next event
  newest_at    timestamptz;      -- created_at of the newest event
  known        boolean;          -- some id of this call is stored
  clock        timestamptz;
  pending      int := 1;         -- first event that is accepted and not yet inserted …
  pending_end  int := 1;         -- … and one past the last
  first        int;              -- events of this save
  past         int;
  result       int;
  stored       int;              -- of its ids, and how many with equal content
  equal        int;
  found        bigint[];
  found_at     timestamptz[];
  looked_up    text;             -- the id last looked up, and its position
  looked_up_at bigint;
  newer        bigint;
  culprit      int;              -- what a refusal names
  culprit_at   bigint;
  culprit_id   text;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'annal appends at isolation level read committed only, not %', current_setting('transaction_isolation')
      using errcode = 'invalid_transaction_state';
  end if;
  if lock_ms is not null then
    perform set_config('lock_timeout', lock_ms::text, true);
  end if;
  perform pg_advisory_xact_lock(@lock@, @events_literal@::regclass::oid::int);
  -- What is visible must be durable: nobody may see this commit before it is on disk.
  if current_setting('synchronous_commit') = 'off' then
    perform set_config('synchronous_commit', 'on', true);
  end if;

  select e.position, e.created_at, exists (select from @events@ k where k.id = any (event_ids))
    into head, newest_at, known
    from @events@ e order by e.position desc limit 1;
  head := coalesce(head, 0);
  known := coalesce(known, false);
  next := head + 1;
  clock := greatest(clock_timestamp(), newest_at);
  if host_clock is not null and pg_has_role(session_user, current_user, 'usage') then
    clock := greatest(host_clock, newest_at);
  end if;

  for save in 1 .. saves + 1 loop
    if pending < pending_end and (save > saves or flushes[save] or pending_end < save_starts[save]) then
      if pending_end = pending + 1 then
        insert into @events@ (position, id, type, version, data, metadata, created_at)
          values (head + 1, event_ids[pending], event_types[pending], event_versions[pending], event_data[pending],
                  event_metadata[pending], coalesce(event_times[pending], clock));
      else
        insert into @events@ (position, id, type, version, data, metadata, created_at)
          select head + n.place, n.id, n.type, n.version, n.data, n.metadata, coalesce(n.kept, clock)
            from unnest(event_ids[pending : pending_end - 1], event_types[pending : pending_end - 1],
                        event_versions[pending : pending_end - 1], event_data[pending : pending_end - 1],
                        event_metadata[pending : pending_end - 1], event_times[pending : pending_end - 1])
                 with ordinality as n (id, type, version, data, metadata, kept, place);
      end if;
      head := next - 1;
      pending := pending_end;
    end if;
    exit when save > saves;
    first := save_starts[save];
    past := save_starts[save + 1];
    result := 0;

    -- 1. Its ids: all stored with equal content is the answer to a retry.
    if known or flushes[save] then
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
        if after_ids[stream] is null then
          newer := @newer@(stream, 0, alones[stream], type_starts, stream_types, field_starts, field_names, value_starts,
                           field_values);
        else
          if looked_up is distinct from after_ids[stream] or looked_up_at is null then
            looked_up := after_ids[stream];
            select e.position into looked_up_at from @events@ e where e.id = looked_up;
          end if;
          if looked_up_at is null then
            result := 3;
            numbers[save] := stream - stream_starts[save] + 1;
            exit;
          end if;
          newer := @newer@(stream, looked_up_at, alones[stream], type_starts, stream_types, field_starts, field_names,
                           value_starts, field_values);
        end if;
        if newer is not null then
          result := 2;
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
end
$append$;
