{{- define "containerssh-crds.labels" -}}
app.kubernetes.io/name: containerssh-crds
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: containerssh
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "containerssh-crds.annotations" -}}
{{- $own := dict }}
{{- if .Values.keep }}{{ $_ := set $own "helm.sh/resource-policy" "keep" }}{{ end }}
{{- with merge $own .Values.annotations }}{{ toYaml . }}{{ end }}
{{- end }}
