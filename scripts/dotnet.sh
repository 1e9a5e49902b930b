# Sourced: the .NET SDK, as the scripts use it. What is built goes to target/dotnet, and no build server is left running.
#
#   dotnet_there             whether there is an SDK that is new enough
#   dotnet_do VERB ARG...    `dotnet VERB ARG...`, into target/dotnet

export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1 DOTNET_GENERATE_ASPNET_CERTIFICATE=false
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
dotnet_missing="no .NET SDK 10 or newer; get it from https://dot.net (dotnet-install.sh --channel 10.0)"

dotnet_there() {
    command -v dotnet >/dev/null 2>&1 || return 1
    local version
    version=$(dotnet --version 2>/dev/null) && [ "${version%%.*}" -ge 10 ]
}

dotnet_do() {
    local verb=$1
    shift
    dotnet "$verb" -c Release -v quiet --artifacts-path "$target/dotnet" --disable-build-servers "$@"
}
