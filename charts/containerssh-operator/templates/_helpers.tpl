{{/* Name of all objects: the release's, with the chart's unless it says the same. Cut so that suffixes fit. */}}
{{- define "containerssh-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Name of objects without a namespace, unique among releases. */}}
{{- define "containerssh-operator.clusterName" -}}
{{- $name := include "containerssh-operator.name" . -}}
{{- if contains $name .Release.Namespace -}}{{ .Release.Namespace }}{{- else -}}{{ printf "%s-%s" .Release.Namespace $name }}{{- end -}}
{{- end }}

{{- define "containerssh-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "containerssh-operator.name" .) -}}
{{- end }}

{{- define "containerssh-operator.selectorLabels" -}}
app.kubernetes.io/name: containerssh-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "containerssh-operator.labels" -}}
{{ include "containerssh-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: containerssh
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Image reference of (dict "image" .Values.image "version" .Chart.AppVersion). */}}
{{- define "containerssh-operator.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .version) -}}
{{- end -}}
{{- end }}

{{/*
What the operator does in each namespace it manages. No wildcard, so that a review sees what a compromised
operator could do. It must hold every right that it hands to gateways, or it could not create their Roles; these
are marked.
*/}}
{{- define "containerssh-operator.namespacedRules" -}}
# The gateways themselves. Patch: the finalizer for objects that stand in other namespaces.
- apiGroups: [containerssh.io]
  resources: [sshgateways]
  verbs: [get, list, watch, patch]
- apiGroups: [containerssh.io]
  resources: [sshgateways/status]
  verbs: [get, patch]
- apiGroups: [containerssh.io]
  resources: [sshgateways/finalizers]
  verbs: [update]
# What a gateway consists of.
- apiGroups: [""]
  resources: [secrets, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Of those that ask for one, where the cluster has the kind.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [tcproutes]
  verbs: [get, list, watch, create, patch, delete]
# What it refers to.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
# Its pods: the operator lists them and has the API server check pod templates by a dry run of create; gateways
# (handed on) start, watch and end users' pods, and note on those of a warm pool or of mode Persistent whose they are.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, patch, delete]
# Handed on: sessions run by exec. Up to Kubernetes 1.34 that takes get, from 1.35 on create.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
