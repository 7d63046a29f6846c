-- The health of a BatchTest for Argo CD: resource.customizations.health.batchyard.dev_BatchTest in argocd-cm.
-- Argo CD gives it the object as `obj` and no library but Lua's base and table. What is absent is Missing, and what is
-- being deleted is Progressing, before this is asked.

local function condition(kind)
  if obj.status ~= nil and obj.status.conditions ~= nil then
    for _, one in ipairs(obj.status.conditions) do
      if one.type == kind then
        return one
      end
    end
  end
  return nil
end

local function is_true(kind)
  local one = condition(kind)
  return one ~= nil and one.status == "True"
end

-- Put together what is known, without what is empty.
local function joined(separator, ...)
  local parts = {}
  for number = 1, select("#", ...) do
    local part = select(number, ...)
    if part ~= nil and part ~= "" then
      table.insert(parts, part)
    end
  end
  return table.concat(parts, separator)
end

local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "waiting for the operator of Batchyard" }
end
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "waiting for the operator to see the newest change" }
end

if is_true("Stalled") then
  local stalled = condition("Stalled")
  local text = stalled.message
  if text == nil or text == "" then
    text = status.message
  end
  return { status = "Degraded", message = joined(": ", status.reason, text) }
end
if is_true("Ready") then
  local best = nil
  if status.best ~= nil then
    best = status.best.combination
  end
  if best ~= nil and best ~= "" then
    best = "best is " .. best
  end
  return { status = "Healthy", message = joined("; ", status.message, best) }
end
if status.phase == "Suspended" then
  return { status = "Suspended", message = status.message or "" }
end
return { status = "Progressing", message = joined(": ", status.phase, status.reason, status.message) }
