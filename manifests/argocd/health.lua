-- How Argo CD sees a ModelDeployment: Healthy, Progressing, Suspended or Degraded, with Serin's own sentence.
-- Degraded: something that passes only when somebody acts (a version that was rolled back, a spec that cannot work), or
-- nothing serves. Suspended: a person or a pause step holds the rollout. ModelSnapshots need no check: Argo CD shows them
-- below their ModelDeployment, and a version that was once rejected is no fault of the present one.

local status = obj.status or {}

local function is(kind, value)
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == kind and condition.status == value then
      return condition
    end
  end
  return nil
end

if status.observedGeneration == nil or status.observedGeneration < obj.metadata.generation then
  return {status = "Progressing", message = "Serin has not looked at this generation yet"}
end

local stalled = is("Stalled", "True")
if stalled then
  return {status = "Degraded", message = stalled.reason .. ": " .. stalled.message}
end

local message = status.reason .. ": " .. status.message

local down = is("Ready", "False")
if down and (down.reason == "StableUnavailable" or is("Routed", "False")) then
  return {status = "Degraded", message = down.reason .. ": " .. down.message}
end

if status.phase == "Paused" then
  return {status = "Suspended", message = message}
end

if is("Ready", "True") and is("Reconciling", "False") then
  return {status = "Healthy", message = message}
end

return {status = "Progressing", message = message}
