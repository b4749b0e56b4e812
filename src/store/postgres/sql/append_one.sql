-- The append of one event, by far the most frequent, on a session that session.sql has prepared: without the arrays, the settings and
-- the many expressions that @append@ needs, each of which PL/pgSQL sets up anew in each transaction. The protocol is the same: the
-- lock in a statement of its own, then the id (before any trigger of the owner's can run), the condition, the insert. It knows success
-- only; what it cannot say it leaves to @append@, which looks at everything again, under the lock that is held already.
--
-- A condition is one stream led by a declared identifier with one value that decides alone. Each identifier has a branch of its own,
-- for the reason given in newer.sql.
create or replace function @append_one@(
  event_id text, event_type text, event_version int, event_data json, event_metadata json,
  after_id     text,    -- the newest event that the reader of the stream saw; null: no match may exist
  lead         text,    -- the identifier; null: the save has no condition
  lead_value   text,
  stream_types text[]   -- null: all types
) returns @answer@ language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $append_one$
declare
  locked boolean;
  next   bigint;
  clock  timestamptz;
  seen   bigint;        -- null also where the event that was seen is not stored
  fresh  boolean;       -- the id is not stored; null: nothing is
  kept   int;           -- 1: stored; 0: the table has taken something else than it was given; null: nothing was inserted
begin
  if current_setting('transaction_isolation') <> 'read committed' or current_setting('synchronous_commit') = 'off' then
    if current_setting('transaction_isolation') <> 'read committed' then
      raise exception 'annal appends at isolation level read committed only, not %', current_setting('transaction_isolation')
        using errcode = 'invalid_transaction_state';
    end if;
    perform set_config('synchronous_commit', 'on', true);
  end if;
  locked := pg_advisory_xact_lock(@lock@, @events_literal@::regclass::oid::int) is null;

  if lead is null then
    select e.position + 1, greatest(clock_timestamp(), e.created_at), not exists (select from @events@ k where k.id = event_id)
      into next, clock, fresh
      from @events@ e order by e.position desc limit 1;
    if fresh then
      insert into @events@ (position, id, type, version, data, metadata, created_at)
        values (next, event_id, event_type, event_version, event_data, event_metadata, clock)
        returning (position = next and id = event_id)::int into kept;
    end if;
  else
    select e.position + 1, greatest(clock_timestamp(), e.created_at),
           case when after_id is null then 0 else (select a.position from @events@ a where a.id = after_id) end,
           not exists (select from @events@ k where k.id = event_id)
      into next, clock, seen, fresh
      from @events@ e order by e.position desc limit 1;
    if fresh and seen is not null then
      case lead
@branches@
        else
          null; -- @append@ says so
      end case;
    end if;
  end if;

  if kept = 1 then
    return row('{0}'::int[], null, array[next], array[clock], null, null, null)::@answer@;
  elsif kept = 0 then
    raise exception 'a trigger or a rule on the table of events dropped or changed an event; nothing of the save was stored';
  elsif lead is null then
    return @append@('{1,2}', null, array[event_id], array[event_type], array[event_version], array[event_data],
                    array[event_metadata], null, null, null, null, null, null, null, null, null, null, null, null, null);
  end if;
  return @append@('{1,2}', null, array[event_id], array[event_type], array[event_version], array[event_data],
                  array[event_metadata], null, '{1,2}', array[after_id], array[lead], array[true],
                  array[1, 1 + coalesce(cardinality(stream_types), 0)], coalesce(stream_types, '{}'), '{1,2}', array[lead],
                  '{1,2}', array[lead_value], null, null);
end
$append_one$;
