-- Everything a program must know before it touches anything else.
SELECT key, value FROM annal_meta ORDER BY key;
