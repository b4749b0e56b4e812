-- The append of events whose ids were made for this call, without conditions, on a session that session.sql has prepared: many callers
-- at once are most often this. None of the ids can be stored, so none is looked for: should one be, the table's own constraint refuses
-- the call, as it refuses two equal ones, and whoever called asks @append@, which looks at each save. The protocol is the same: the
-- lock in a statement of its own, then what is newest, the insert.
--
-- What the table has taken is counted only. That says all where it is a plain table on which no trigger, rule or policy of the owner's
-- can change or hide an event, which is looked at afterwards: from the insert on to the end nobody can give it one.
create or replace function @append_new@(
  event_ids text[], event_types text[], event_versions int[], event_data json[],
  event_metadata json[]  -- null: none has any
) returns @answer@ language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $append_new$
declare
  locked boolean;
  head   bigint;
  clock  timestamptz;
  kept   bigint;
begin
  if current_setting('transaction_isolation') <> 'read committed' or current_setting('synchronous_commit') = 'off' then
    raise exception 'annal appends at isolation level read committed only, and what it has appended is durable'
      using errcode = 'feature_not_supported';
  end if;
  locked := pg_advisory_xact_lock(@lock@, @events_literal@::regclass::oid::int) is null;

  select e.position, greatest(clock_timestamp(), e.created_at) into head, clock
    from @events@ e order by e.position desc limit 1;
  head := coalesce(head, 0);
  clock := coalesce(clock, clock_timestamp());
  insert into @events@ (position, id, type, version, data, metadata, created_at)
    select head + n, event_ids[n], event_types[n], event_versions[n], event_data[n], event_metadata[n], clock
      from generate_series(1, cardinality(event_ids)) n;
  get diagnostics kept = row_count;
  if kept <> cardinality(event_ids)
     or not exists (select from pg_class c where c.oid = @events_literal@::regclass and c.relkind = 'r'
                       and not c.relhastriggers and not c.relhasrules and not c.relrowsecurity) then
    raise exception 'annal appends in another way to a table with triggers, rules, policies or partitions'
      using errcode = 'feature_not_supported';
  end if;
  return row(null, null, array[head + 1], array[clock], null, null, null)::@answer@;
end
$append_new$;
