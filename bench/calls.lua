-- wrk: the same small question over and over. KEY, MODEL and HEADERS ("name: value|name: value") come from the
-- environment. Prints one line of JSON; times in milliseconds.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY")
for line in os.getenv("HEADERS"):gmatch("[^|]+") do
  local name, value = line:match("^([^:]+):%s*(.*)$")
  wrk.headers[name] = value
end
wrk.body = '{"model":"' .. os.getenv("MODEL") .. '","max_tokens":20,"messages":'
  .. '[{"role":"user","content":"Say hello to the benchmark, please."}]}'

function done(summary, latency)
  local wrong = summary.errors
  io.write(string.format(
    'JSON {"calls":%d,"per_s":%.1f,"p50":%.3f,"p99":%.3f,"wrong_status":%d,"broken":%d}\n',
    summary.requests, summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, wrong.status, wrong.connect + wrong.read + wrong.write + wrong.timeout))
end
