-- The health of an Application within an Application: resource.customizations.health.argoproj.io_Application. Argo CD
-- has none of its own for them, and without it the next sync wave does not wait for what an earlier one installs.

local health = nil
if obj.status ~= nil then
  health = obj.status.health
end
if health == nil or health.status == nil or health.status == "" then
  return { status = "Progressing", message = "waiting for its first comparison" }
end
return { status = health.status, message = health.message or "" }
