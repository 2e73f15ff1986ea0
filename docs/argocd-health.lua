-- Health of SSHGateway and AuditPolicy for Argo CD, which gives kinds it does not know none at all. Goes into the ConfigMap argocd-cm
-- under resource.customizations.health.containerssh.io_SSHGateway and ..._AuditPolicy: see docs/gitops.md.
local health = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
-- What the status says of an older generation says nothing of this one.
if obj.status.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
if found.Stalled ~= nil and found.Stalled.status == "True" then
  return { status = "Degraded", message = found.Stalled.message }
end
if found.Reconciling ~= nil and found.Reconciling.status == "True" then
  return { status = "Progressing", message = found.Reconciling.message }
end
if found.Ready ~= nil then
  if found.Ready.status == "True" then
    return { status = "Healthy", message = found.Ready.message }
  end
  health.message = found.Ready.message
end
return health
