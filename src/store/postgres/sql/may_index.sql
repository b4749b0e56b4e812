-- Whether this role owns the events, on a server that can be written to.
select pg_has_role(c.relowner, 'usage') and not pg_is_in_recovery() from pg_catalog.pg_class c where c.oid = @events_literal@::regclass
