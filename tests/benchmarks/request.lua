-- What wrk sends: the same request over and over (nothing here runs between two of them), and how it tells
-- what it has seen. WRK_BODY names the file with the body of a POST; without it, GET.
local path = os.getenv("WRK_BODY")
if path then
  local file = assert(io.open(path, "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*all")
  file:close()
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'MEASURED {"requests": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "errors": ' ..
    '{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
