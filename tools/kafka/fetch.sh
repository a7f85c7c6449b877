#!/usr/bin/env bash
# Brings the jars of Apache Kafka (pom.xml) from Maven Central into DIRECTORY/libs. Needs Java 17 and Maven.
set -euo pipefail
into=${1:?usage: fetch.sh DIRECTORY}
here=$(cd "$(dirname "$0")" && pwd)
for tool in java mvn; do
  command -v "$tool" >/dev/null || { echo "make kafka needs $tool (Debian: apt-get install openjdk-17-jre-headless maven)" >&2; exit 1; }
done
mkdir -p "$into"
part=$(mktemp -d "$(cd "$into" && pwd)/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
mvn -q -B -ntp -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$part/libs" -DincludeScope=runtime
rm -rf "$into/libs"
mv "$part/libs" "$into/libs"
echo "Apache Kafka: $(find "$into/libs" -name '*.jar' | wc -l) jars in $into/libs"
