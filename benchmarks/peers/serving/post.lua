-- Sends the bodies of the folder BODIES (0, 1, ... of COUNT), one after the other; at the end one line of JSON.
local requests, turn = {}, 0

function init(arguments)
  for line in os.getenv("HEADERS"):gmatch("[^\n]+") do
    local name, value = line:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  for i = 0, tonumber(os.getenv("COUNT")) - 1 do
    local file = assert(io.open(os.getenv("BODIES") .. "/" .. i, "rb"))
    requests[i] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = (turn + 1) % (#requests + 1)
  return requests[turn]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
