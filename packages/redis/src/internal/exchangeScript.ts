/**
 * One exchange as a Lua script: Redis runs it as one step. It is the arithmetic
 * of `@poolkit/pool`'s `internal/storedLimitBook.ts`, with the same names, and
 * takes O(members) steps.
 *
 * One hash per key. Fields `member:<id>` hold an entry as numbers separated by
 * spaces; `run` is the Redis that wrote them, and `recoversUntil` the end of
 * the time in which nothing new is granted because entries may be missing.
 */

/** How the script tells the time. Tests put an argument in its place. */
export const redisTime = `local t = redis.call("TIME")
local now = t[1] * 1000 + math.floor(t[2] / 1000)`

/** Times are milliseconds. Returns [granted, fairShare, contended, retryAfter, used, members, …wakes], or nothing for a late claim. */
export const exchangeLua = (time: string): string => `
local key = KEYS[1]
local channel, member = ARGV[1], ARGV[2]
local sequence, max, leaseTime = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local held, idle, wanted, spare = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local leaving, gracePeriod = ARGV[10] == "1", tonumber(ARGV[11])
${time}

-- Whether this is the Redis that wrote the entries. After a restart or a failover some of them may be missing.
-- A user who may not ask takes it as it is: one who may would otherwise see a restart in every other exchange.
local info = redis.pcall("INFO", "server")
local run = type(info) == "string" and string.match(info, "run_id:(%x+)")
local recoversUntil = 0
local own = nil
local members = {}
local count = 0
local all = redis.call("HGETALL", key)
local expired = {}
local isLimit, wroteIt = #all == 0, false
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  local id = string.match(field, "^member:(.*)$")
  if field == "run" then isLimit, wroteIt = true, not run or value == run
  elseif field == "recoversUntil" then recoversUntil = tonumber(value)
  elseif id then
    local n = {}
    for part in string.gmatch(value, "%S+") do n[#n + 1] = tonumber(part) end
    local entry = { id = id, granted = n[1], held = n[2], idle = n[3], wanted = n[4], since = n[5], grew = n[6], expires = n[7], sequence = n[8] }
    if entry.expires <= now then expired[#expired + 1] = field
    elseif id == member then own = entry
    else
      entry.occupies = math.max(entry.granted, entry.held)
      members[#members + 1] = entry
    end
  end
end
-- Before anything is written. A hash that somebody else keeps must not get our fields, nor an end.
if not isLimit then return redis.error_reply("WRONGTYPE a hash that is no connection limit") end
if own and sequence <= own.sequence then return {} end
if not wroteIt then
  recoversUntil = now + gracePeriod
  redis.call("HSET", key, "run", run or "unknown", "recoversUntil", string.format("%.0f", recoversUntil))
end
if #expired > 0 then redis.call("HDEL", key, unpack(expired)) end

local others = { granted = 0, occupied = 0, coming = 0, wanted = 0, active = 0, firstExpiry = math.huge }
for _, entry in ipairs(members) do
  others.granted = others.granted + entry.granted
  others.occupied = others.occupied + entry.occupies
  others.coming = others.coming + entry.occupies - entry.granted
  others.wanted = others.wanted + entry.wanted
  if entry.occupies + entry.wanted > 0 then others.active = others.active + 1 end
  others.firstExpiry = math.min(others.firstExpiry, entry.expires)
end
local fair = max / math.max(1, others.active + (held + wanted > 0 and 1 or 0))
local least, most = math.max(1, math.floor(fair)), math.max(1, math.ceil(fair))
local since = own and own.wanted > 0 and math.max(own.granted, own.held) < most and own.since or now
local recovering = now < recoversUntil

local due = recovering and least or math.min(own and own.granted or 0, least)
local kept = math.min(held, math.max(max - others.granted, due))
local free = recovering and 0 or math.max(0, max - others.occupied - held)
local starved, lacking, ahead = 0, 0, 0
for _, entry in ipairs(members) do
  starved = starved + math.min(entry.wanted, math.max(0, least - entry.occupies))
  local missing = math.min(entry.wanted, math.max(0, most - entry.occupies))
  lacking = lacking + missing
  local order = entry.occupies - kept
  if order == 0 then order = entry.since - since end
  if order < 0 or (order == 0 and entry.id < member) then ahead = ahead + missing end
end
local served = math.min(wanted, math.max(math.min(free - ahead, most - kept), free - lacking, 0))
local spared = math.min(spare, math.max(0, free - served - others.wanted))
local yielded = 0
if not recovering and served == 0 then
  local supply = free + others.coming
  if wanted == 0 then yielded = math.max(yielded, math.min(idle, others.wanted - supply)) end
  local settled = fair >= 1 or (own and now - own.grew >= leaseTime / 3)
  if kept > fair and settled then
    yielded = math.max(yielded, math.min(kept - math.floor(fair), starved - supply), math.min(kept - most, lacking - supply))
  end
  yielded = math.min(kept, yielded)
end
local granted = kept + served + spared - yielded

local unmet = wanted - served
local field = "member:" .. member
count = #members
if leaving and held == 0 then redis.call("HDEL", key, field)
else
  count = count + 1
  local grew = served > 0 and now or own and own.grew or now
  redis.call("HSET", key, field, string.format("%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f",
    granted, held, idle, unmet, since, grew, now + leaseTime, sequence))
end
-- A budget that nobody uses is forgotten.
redis.call("PEXPIRE", key, string.format("%.0f", math.max(86400000, 10 * leaseTime)))

local occupied = math.max(granted, held)
local left = recovering and 0 or max - others.occupied - occupied
local worth, before, needed
if left > 0 then
  needed = left
  worth = function(entry) return entry.wanted end
  before = function(a, b)
    if a.occupies ~= b.occupies then return a.occupies < b.occupies end
    if a.since ~= b.since then return a.since < b.since end
    return a.id < b.id
  end
elseif unmet > 0 and (served > 0 or not own or own.wanted == 0) then
  needed = unmet - others.coming
  local share = granted < least and least or granted < most and most or math.huge
  worth = function(entry) return math.max(entry.idle, entry.granted - share) end
  before = function(a, b)
    if a.idle ~= b.idle then return a.idle > b.idle end
    if a.granted ~= b.granted then return a.granted > b.granted end
    return a.id < b.id
  end
end
local wakes = {}
if worth then
  local candidates = {}
  for _, entry in ipairs(members) do
    if worth(entry) > 0 then candidates[#candidates + 1] = entry end
  end
  table.sort(candidates, before)
  for _, entry in ipairs(candidates) do
    if needed <= 0 then break end
    wakes[#wakes + 1] = entry.id
    needed = needed - worth(entry)
  end
end
-- Whoever may not publish still gets its exchange: a wake that is lost costs time and nothing else.
if #wakes > 0 and channel ~= "" then redis.pcall("PUBLISH", channel, table.concat(wakes, " ")) end

local untilTime = recovering and recoversUntil or others.firstExpiry
local retryAfter = -1
if unmet + spare - spared > 0 and untilTime < math.huge then retryAfter = untilTime - now end
local fairShare = math.max(1, math.floor(max / math.max(1, count)))
return { granted, fairShare, others.wanted > 0 and 1 or 0, retryAfter, others.occupied + occupied, count, unpack(wakes) }
`
