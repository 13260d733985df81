-- Beat, and return the workers whose heartbeat has not lapsed. Redis' clock is the only clock.
-- KEYS[1] the sorted set; ARGV[1] the lapse in milliseconds, ARGV[2] the worker, absent to look
-- without beating.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])
if ARGV[2] then
  redis.call('ZADD', KEYS[1], now, ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[1] * 10)
end
return redis.call('ZRANGE', KEYS[1], 0, -1)
