-- What the append answers: for each save of the call …
create type @answer@ as (
  results   int[],          -- null: all stored, one after the other from positions[1] on, at times[1]; else of each
                            -- 0 stored, 1 was stored, 2 conflict, 3 conflict: the id is not stored, 4 duplicate,
                            -- 5 only some are stored, 6 time before the newest event's, 7 time in the future
  numbers   int[],          -- where refused: which stream (2, 3) or event (4, 5) of the save, from 1
  positions bigint[],       -- stored: of the first event; 2: of the newer event; 4, 5: of the stored one
  times     timestamptz[],  -- stored: created_at; 6: the newest event's; 7: the clock's
  ids       text[],         -- 2: of the newer event; 5: of one that is not stored
  -- … and for each event of each save that was stored before:
  found_positions bigint[],
  found_times     timestamptz[]
);
