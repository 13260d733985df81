-- Commit calls, each by itself: compare-and-set on its version, then state and records together.
-- KEYS the calls, then the epoch's key if it matters; ARGV[1] a JSON array with an array for each
-- call: the version it was loaded at, its time to live in milliseconds, the number of records, then
-- fields and values, those of records first; ARGV[2] the epoch in force. Returns for each call 1, or
-- 0 when it has moved on or has one of the records, or its error; and the epoch found, if it matters.
-- Nothing is committed in another epoch.
local function commit(key, change)
  local asked = {'version'}
  for i = 4, 2 + 2 * change[3], 2 do
    asked[#asked + 1] = change[i]
  end
  local there = redis.pcall('HMGET', key, unpack(asked))
  if there.err then
    return there
  end
  if (there[1] or '0') ~= change[1] then
    return 0
  end
  for i = 2, #asked do
    if there[i] then
      return 0
    end
  end
  local written = redis.pcall('HSET', key, unpack(change, 4))
  if type(written) == 'table' then
    return written
  end
  return redis.pcall('PEXPIRE', key, change[2])
end

local changes = cjson.decode(ARGV[1])
local done = {}
local epoch = KEYS[#changes + 1]
if epoch then
  -- Not GETEX, as a load does: Redis counts it as a write, and looks at its limit of memory only at
  -- the first of a script. A replica refuses the call's own.
  local found = redis.pcall('GET', epoch)
  if found ~= ARGV[2] then
    return {found}
  end
  done[#changes + 1] = found
end
for i, change in ipairs(changes) do
  done[i] = commit(KEYS[i], change)
end
return done
