-- Nothing is stored by anybody from here to the end of the transaction.
begin isolation level read committed;
set local lock_timeout = @lock_ms@;
select pg_advisory_xact_lock(@lock@, @events_literal@::regclass::oid::int);
