module containerssh.io/e2e/tools/minio

go 1.26.0
