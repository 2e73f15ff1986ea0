{{/* Whether the label `key` of the map marks an object as a gateway's. CEL. */}}
{{- define "containerssh-operator.mark" -}}
(key == 'app.kubernetes.io/managed-by' && {{ . }}[key] == 'containerssh-operator') || (key == 'app.kubernetes.io/name' && {{ . }}[key] == 'containerssh-gateway') || key == 'containerssh.io/gateway-uid'
{{- end }}

{{/* Whether an owner reference is that of a gateway. CEL. */}}
{{- define "containerssh-operator.owner" -}}
owner.kind == 'SSHGateway' && owner.apiVersion.startsWith('containerssh.io/')
{{- end }}

{{/*
Who may do what tenants may not: the operator, the cluster's own controllers and nodes, and whoever may edit
AuditPolicies and so decides anyway. CEL.
*/}}
{{- define "containerssh-operator.trusted" -}}
{{- $users := concat (list (printf "system:serviceaccount:%s:%s" .Release.Namespace (include "containerssh-operator.serviceAccountName" .)) "system:apiserver" "system:kube-controller-manager" "system:kube-scheduler" "system:cloud-controller-manager") .Values.admission.trustedUsers -}}
{{- $groups := concat (list "system:nodes" "system:serviceaccounts:kube-system") .Values.admission.trustedGroups -}}
request.userInfo.username in {{ toJson $users }}
|| (has(request.userInfo.groups) && request.userInfo.groups.exists(group, group in {{ toJson $groups }}))
|| authorizer.group('containerssh.io').resource('auditpolicies').check('update').allowed()
{{- end }}

{{/* The binding of the policy .name, in the namespaces that the operator manages; .params are labels of its parameters. */}}
{{- define "containerssh-operator.admissionBinding" -}}
{{- $prefix := include "containerssh-operator.clusterName" .root -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $prefix }}-{{ .name }}
  labels:
    {{- include "containerssh-operator.labels" .root | nindent 4 }}
spec:
  policyName: {{ $prefix }}-{{ .name }}
  validationActions: [Deny]
  {{- with .params }}
  paramRef:
    selector:
      matchLabels:
        {{- toYaml . | nindent 8 }}
    # A namespace without gateways has nothing to compare with.
    parameterNotFoundAction: Allow
  {{- end }}
  {{- with .root.Values.watchNamespaces }}
  matchResources:
    namespaceSelector:
      matchExpressions:
        - key: kubernetes.io/metadata.name
          operator: In
          values:
            {{- toYaml . | nindent 12 }}
  {{- end }}
{{- end }}
