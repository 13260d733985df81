-- Commit calls, each by itself: compare-and-set on its version, then state and records together.
-- KEYS the calls; ARGV[1] a JSON array with an array for each: the version it was loaded at, its time
-- to live in milliseconds, then fields and values. Returns for each 1, 0 when it has moved on, or its
-- error.
local function commit(key, change)
  local version = redis.pcall('HGET', key, 'version')
  if type(version) == 'table' then
    return version
  end
  if (version or '0') ~= change[1] then
    return 0
  end
  local written = redis.pcall('HSET', key, unpack(change, 3))
  if type(written) == 'table' then
    return written
  end
  return redis.pcall('PEXPIRE', key, change[2])
end

local done = {}
for i, change in ipairs(cjson.decode(ARGV[1])) do
  done[i] = commit(KEYS[i], change)
end
return done
