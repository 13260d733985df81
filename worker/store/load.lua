-- Load calls. KEYS the calls; ARGV[1] a JSON array with the fields to read of each, or false for all
-- that there are. Returns for each its values, or, of all, fields and values; or its error.
local wanted = cjson.decode(ARGV[1])
local found = {}
for i, key in ipairs(KEYS) do
  if wanted[i] then
    found[i] = redis.pcall('HMGET', key, unpack(wanted[i]))
  else
    found[i] = redis.pcall('HGETALL', key)
  end
end
return found
