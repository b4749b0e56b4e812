-- Only from what was seen before.
update @meta@ set value = $2::text where key = $1::text and value = $3::text
