-- The index of a declared field of views by the order of its values. Its condition holds for every row, and only the queries that
-- want this index say it: whoever looks for one id, by the primary key, is not tempted.
create index @index@ on @projections@ (type, fingerprint, @terms@, id) where position >= 0;
