-- Sends each request of a file, one body a line, once; `done` says how many it has taken of them.
local bodies, threads = {}, {}
taken = 0 -- global, so that `done` can get it

function setup(thread)
  table.insert(threads, thread)
end

function init()
  for line in io.lines(os.getenv("BODIES")) do
    table.insert(bodies, wrk.format("POST", nil, nil, line))
  end
end

function request()
  taken = taken + 1
  return bodies[taken] or bodies[#bodies]
end

function done()
  print("taken " .. threads[1]:get("taken"))
end
