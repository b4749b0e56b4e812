insert into @meta@ (key, value) values
  ('tables_version', @version@),
  ('oldest_program', @oldest@),
  ('store_id', gen_random_uuid()::text),
  ('functions', @functions@),
  ('events', @events_name@),
  ('projections', @projections_name@);
