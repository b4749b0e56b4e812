-- Roles. A program logs in as a member of one of them; only the owner can write events around the append.
create role @reader@ nologin;
grant usage on schema @schema@ to @reader@;
grant select on @events@, @projections@, @meta@, @checkpoints@, @parked@ to @reader@;

create role @writer@ nologin in role @reader@;
grant execute on function @append@, @append_rows@, @append_one@, @append_new@ to @writer@;
grant insert, update on @projections@ to @writer@;

create role @worker@ nologin in role @writer@;
grant delete on @projections@ to @worker@;
grant insert, update on @checkpoints@, @meta@ to @worker@;
grant insert, update, delete on @parked@ to @worker@;
