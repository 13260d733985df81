-- Load calls. KEYS the calls, then the epoch's key if it matters; ARGV[1] a JSON array with the
-- fields to read of each call, or false for all that there are. Returns for each its values, or, of
-- all, fields and values; or its error; and the epoch found, if it matters.
local wanted = cjson.decode(ARGV[1])
local found = {}
for i, fields in ipairs(wanted) do
  if fields then
    found[i] = redis.pcall('HMGET', KEYS[i], unpack(fields))
  else
    found[i] = redis.pcall('HGETALL', KEYS[i])
  end
end
local epoch = KEYS[#wanted + 1]
if epoch then
  -- Not GET, which a replica would answer.
  found[#wanted + 1] = redis.pcall('GETEX', epoch)
end
return found
