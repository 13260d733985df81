-- Restore one call from the journal; what is there and as new, or newer, stays as it is.
-- KEYS[1] the call; ARGV[1] its progress, ARGV[2] when it reached it, ARGV[3] when it expires, both
-- in milliseconds since the epoch, ARGV[4] when it began, if it began among these records, else '',
-- ARGV[5] how far clocks may differ, in milliseconds, ARGV[6] the least version, ARGV[7] the number
-- of fields, ARGV[8..] that many fields and values of the call, then progress, fields and values of
-- records.
-- What cannot be read there counts as older. Returns whether anything was changed that had not been
-- changed at this version before, and the number of records added.
local there = redis.call('HMGET', KEYS[1], 'sequence', 'version', 'pending', 'gateway')
local progress = 2 * (tonumber(there[1] or '') or -1)
if progress >= 0 and (there[3] or '') ~= '' then
  progress = progress + 1
end
local version = tonumber(there[2] or '') or 0
local least = tonumber(ARGV[6])
local last = 7 + 2 * ARGV[7]

local missing = progress < tonumber(ARGV[1])
for i = last + 1, #ARGV, 3 do
  missing = missing or redis.call('HEXISTS', KEYS[1], ARGV[i + 1]) == 0
end
if not missing then
  return {0, 0}
end

-- A request_id may have named another call before, which has expired. Their sequences cannot be
-- compared, so their times are.
local latest = 0
for _, value in ipairs(redis.call('HVALS', KEYS[1])) do
  latest = math.max(latest, tonumber(string.match(value, '^%[(%d+),') or '') or 0)
end
if latest > tonumber(ARGV[2]) + tonumber(ARGV[5]) then
  return {0, 0}
end
if latest > 0 and ARGV[4] ~= '' and tonumber(ARGV[4]) > latest then
  redis.call('DEL', KEYS[1])
  progress = -1
end

local newer = progress < tonumber(ARGV[1])
local added = 0
if newer then
  if there[4] then
    -- The one field that a state may be without: that of an earlier one must not stay.
    redis.call('HSET', KEYS[1], 'gateway', '')
  end
  redis.call('HSET', KEYS[1], unpack(ARGV, 8, last))
end
for i = last + 1, #ARGV, 3 do
  -- Of two records of one name, of calls of one name, the later one counts.
  local set = tonumber(ARGV[i]) > progress and 'HSET' or 'HSETNX'
  added = added + redis.call(set, KEYS[1], ARGV[i + 1], ARGV[i + 2])
end
-- A worker that has loaded the call before must not commit against it.
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', math.max(version + 1, least)))
if newer then
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
return {version < least and 1 or 0, added}
