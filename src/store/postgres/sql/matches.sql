-- Do all fields from number `field` up to, not including, `field_end` match? For the parts of a condition that no index answers.
-- A field matches when it is a string, number or boolean whose text is one of its values.
create or replace function @matches@(
  event json, field_names text[], value_starts int[], field_values text[], field int, field_end int
) returns boolean language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $matches$
begin
  while field < field_end loop
    if ((event ->> field_names[field]) = any (field_values[value_starts[field] : value_starts[field + 1] - 1])
        and json_typeof(event -> field_names[field]) in ('string', 'number', 'boolean')) is not true then
      return false;
    end if;
    field := field + 1;
  end loop;
  return true;
end
$matches$;
