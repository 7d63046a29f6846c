#!/bin/sh
# Stands in for Docker where pages run: the cluster has both images, which the test bed built from the same Dockerfile.
# It builds nothing, and refuses what that Dockerfile has no place for.
refuse() {
  echo "docker $*" >&2
  exit 2
}
needs() { grep -Eqe "$1" Dockerfile || refuse "$2, which the Dockerfile has not"; }

command="$1"
shift
case "$command" in
push | tag) exit ;;
build) ;;
*) refuse "$command is not known here" ;;
esac
while [ $# -gt 1 ]; do
  case "$1" in
  --target) needs "^FROM .* AS $2\$" "build: the target $2" ;;
  --build-arg) needs "^ARG ${2%%=*}(=|\$)" "build: the argument ${2%%=*}" ;;
  --secret)
    id="${2#id=}"
    needs "--mount=type=secret,id=${id%%,*}[, ]" "build: the secret $2"
    ;;
  -t | --tag) ;;
  *) refuse "build: $1 is not known here" ;;
  esac
  shift 2
done
[ "$*" = . ] || refuse "build: does not end with the folder of the Dockerfile"
