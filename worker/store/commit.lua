-- Commit one call: compare-and-set on its version, then state and records together.
-- KEYS[1] the call; ARGV[1] the version it was loaded at, ARGV[2] its time to live in
-- milliseconds, ARGV[3..] fields and values. Returns 1, or 0 when the call has moved on.
if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
