-- Reads an event stream as it passes, and writes into the metadata of the request how it has ended (streams.py).
--
-- Only the beginning of a line is looked at: it has the name of an event, or the first key of its data. Text that a model
-- generates is inside of a JSON string further on, so no text can pass for an event.

local HEAD = 512
local NO_ERROR = {'null', 'false', '0', '""', '{}', '[]'}
-- The last events of APIs whose events have names: OpenAI's responses, Anthropic's messages.
local LAST = {['response.completed'] = true, ['response.incomplete'] = true, ['response.cancelled'] = true,
              ['response.failed'] = true, ['message_stop'] = true, ['error'] = true}

local function is_error(data)
  local value = data:match('^{%s*"error"%s*:%s*(.*)')
  if value then
    for _, none in ipairs(NO_ERROR) do
      if value:sub(1, #none) == none then return false end
    end
    return true
  end
  return data:find('^{%s*"type"%s*:%s*"error"') or data:find('^{%s*"type"%s*:%s*"response%.failed"')
    or data:find('^{%s*"object"%s*:%s*"error"')
end

-- What a line says is kept in `seen`: error, done, chunks (of OpenAI's completions, which end with [DONE]), event.
local function read(line, seen)
  local event = line:match('^event: ?([%w_.]+)')
  if event then
    seen.event = event
    seen.error = seen.error or event == 'error' or event == 'response.failed'
    return
  end
  local data = line:match('^data: ?(.*)')
  if not data then return end
  if data:find('^%[DONE%]') then seen.done = true
  elseif data:find('"object": ?"chat%.completion%.chunk"') or data:find('"object": ?"text_completion"') then
    seen.chunks = true
  end
  seen.error = seen.error or is_error(data)
end

local function unfinished(seen)
  if seen.done then return false end
  local event = seen.event or ''
  local named = event:find('^response%.') or event:find('^message_') or event:find('^content_block_')
  return seen.chunks or (named and not LAST[event])
end

-- Objects of Envoy's do not outlive the wait for the next chunk, so this begins at the handle.
local function tell(handle, key)
  handle:streamInfo():dynamicMetadata():set('serin.stream', key, 'yes')
end

function envoy_on_response(handle)
  local kind = handle:headers():get('content-type')
  if not kind or kind:sub(1, 17) ~= 'text/event-stream' then return end
  local seen, rest = {}, ''
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    local text = size > 0 and chunk:getBytes(0, size) or ''
    local from = 1
    while true do
      local at = text:find('[\r\n]', from)
      local room = HEAD - #rest
      local last = at and at - 1 or #text
      if room > 0 then rest = rest .. text:sub(from, math.min(last, from + room - 1)) end
      if not at then break end
      if rest ~= '' then read(rest, seen) end
      rest, from = '', at + 1
    end
    if seen.error and not seen.told then
      tell(handle, 'error')
      seen.told = true
    end
  end
  tell(handle, 'ended')
  if unfinished(seen) then tell(handle, 'unfinished') end
end
