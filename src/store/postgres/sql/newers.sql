-- What annal_newer_1 says, for all streams of a call at once, as things stand before the call inserts anything. One statement for
-- each declared identifier that leads some stream: to set up a statement costs several times what it does for one stream. A lead
-- without a statement here would be answered as if nothing were newer, hence is refused.
create or replace function @newers@(
  after_ids text[], leads text[], alones boolean[], type_starts int[], stream_types text[], field_starts int[],
  field_names text[], value_starts int[], field_values text[]
) returns bigint[] language plpgsql volatile set search_path = pg_catalog, pg_temp as $newers$
declare
  answers   bigint[];
  seens     bigint[];
  streams   int[];
  positions bigint[];
begin
  if not array_remove(leads, null) <@ array[@fields@]::text[] then
    raise exception 'an identifier of % has no branch in annal_newers_1', leads using errcode = 'internal_error';
  end if;
  seens := array(select case when a.id is null then 0 else (select e.position from @events@ e where e.id = a.id) end
                   from unnest(after_ids) with ordinality as a (id, number) order by a.number);
@branches@
  for stream in 1 .. array_length(after_ids, 1) loop
    if seens[stream] is null then
      answers[stream] := 0;
    elsif leads[stream] is null then
      answers[stream] := @newer@(stream, after_ids, leads, alones, type_starts, stream_types, field_starts, field_names,
                                 value_starts, field_values);
    end if;
  end loop;
  return answers;
end
$newers$;
