-- Events of one correlation, in order of position. What is longer than any value that is asked for stays out: no entry may be larger
-- than a third of a page, and metadata are anybody's.
create index @index@ on @events@ (((metadata ->> @field@) collate "C"), position) where octet_length(metadata ->> @field@) <= @bytes@;
