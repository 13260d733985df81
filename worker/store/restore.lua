-- Restore one call from the journal; what is there and as new, or newer, stays as it is.
-- KEYS[1] the call; ARGV[1] its sequence, ARGV[2] when it expires, in milliseconds since the epoch,
-- ARGV[3] the least version, ARGV[4] the number of fields, ARGV[5..] that many fields and values of
-- the call, then sequences, fields and values of records.
-- What cannot be read there counts as older. Returns whether anything was changed that had not been
-- changed at this version before, and the number of records added.
local there = redis.call('HMGET', KEYS[1], 'sequence', 'version')
local sequence = tonumber(there[1] or '') or -1
local newer = sequence < tonumber(ARGV[1])
local version = tonumber(there[2] or '') or 0
local least = tonumber(ARGV[3])
local last = 4 + 2 * ARGV[4]
local added = 0
if newer then
  redis.call('HSET', KEYS[1], unpack(ARGV, 5, last))
end
for i = last + 1, #ARGV, 3 do
  if tonumber(ARGV[i]) > sequence then
    -- Commands without a message_id share a record, which is the latest one's.
    added = added + redis.call('HSET', KEYS[1], ARGV[i + 1], ARGV[i + 2])
  else
    added = added + redis.call('HSETNX', KEYS[1], ARGV[i + 1], ARGV[i + 2])
  end
end
if not newer and added == 0 then
  return {0, 0}
end
-- A worker that has loaded the call before must not commit against it.
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', math.max(version + 1, least)))
if newer then
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
return {version < least and 1 or 0, added}
