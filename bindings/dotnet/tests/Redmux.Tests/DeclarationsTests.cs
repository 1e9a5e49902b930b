using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Xunit;

namespace Redmux.Tests;

/// <summary>The declarations are held against the header, the exports, the record's layout and the golden blocks.</summary>
public sealed partial class DeclarationsTests
{
    private static readonly string Header = File.ReadAllText(Path.Combine(Place.Root, "include/redmux.h"));

    private static readonly MethodInfo[] Declared = [.. typeof(Native)
        .GetMethods(BindingFlags.Static | BindingFlags.NonPublic)
        .Where(method => method.Name.StartsWith("redmux_", StringComparison.Ordinal))];

    [GeneratedRegex(@"/\*.*?\*/", RegexOptions.Singleline)]
    private static partial Regex Comment();

    [GeneratedRegex(@"^(\w[\w *]*?)(redmux_\w+)\(([^()]*)\);", RegexOptions.Multiline)]
    private static partial Regex Function();

    [GeneratedRegex(@"\w+\s*$")]
    private static partial Regex LastWord();

    /// <summary>What this package has no use for: nothing here blocks, and options are set one by one.</summary>
    private static readonly string[] Unused =
    [
        "redmux_client_open", "redmux_client_take_many", "redmux_client_wake", "redmux_error_code", "redmux_error_redis", "redmux_error_retriable",
        "redmux_inbox_new_callback", "redmux_options_describe", "redmux_options_get", "redmux_options_set_file", "redmux_options_set_json", "redmux_options_set_url",
        "redmux_shutdown", "redmux_version_number", "redmux_version_string",
    ];

    [Fact]
    public void Every_export_is_declared_or_known_to_be_unused()
    {
        string[] exports = File.ReadAllLines(Path.Combine(Place.Root, "include/redmux.exports"));
        string[] blocking = [.. exports.Where(name => name.EndsWith("_wait", StringComparison.Ordinal) && name != "redmux_client_wait")];
        Assert.Equal(exports, Declared.Select(method => method.Name).Concat(Unused).Concat(blocking).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_declaration_is_the_headers()
    {
        var found = Function().Matches(Comment().Replace(Header, "")).ToDictionary(function => function.Groups[2].Value);
        foreach (MethodInfo declared in Declared)
        {
            Match function = found[declared.Name];
            string wanted = Shape(function.Groups[1].Value) + "(" + string.Join(", ", function.Groups[3].Value.Split(',')
                .Where(parameter => parameter.Trim() is not ("" or "void")).Select(parameter => Shape(LastWord().Replace(parameter, "")))) + ")";
            string given = Kind(declared.ReturnType) + "(" + string.Join(", ", declared.GetParameters().Select(parameter => Kind(parameter.ParameterType))) + ")";
            Assert.Equal($"{declared.Name} {wanted}", $"{declared.Name} {given}");
        }
    }

    private static string Shape(string declared)
    {
        declared = declared.Replace("const ", "", StringComparison.Ordinal).Replace("struct ", "", StringComparison.Ordinal).Trim();
        return declared.Contains('*', StringComparison.Ordinal) || declared.EndsWith("_fn", StringComparison.Ordinal) ? "pointer" : declared switch
        {
            "redmux_client" or "redmux_inbox" or "redmux_options" or "redmux_subscription" or "redmux_promises" or "redmux_gather" or "redmux_responder" => "uint64_t",
            _ => declared,
        };
    }

    private static string Kind(Type type) =>
        type.IsPointer ? "pointer"
        : type == typeof(void) ? "void"
        : type == typeof(int) ? "int32_t"
        : type == typeof(uint) ? "uint32_t"
        : type == typeof(long) ? "int64_t"
        : type == typeof(ulong) ? "uint64_t"
        : type == typeof(nuint) ? "size_t"
        : type == typeof(RawBytes) ? "redmux_bytes"
        : type.Name;

    [Fact]
    public void The_record_and_the_block_have_the_documented_layout()
    {
        Assert.Equal((64, 56, 16), (Unsafe.SizeOf<RawRecord>(), Unsafe.SizeOf<RawBlock>(), Unsafe.SizeOf<RawBytes>()));
        string page = File.ReadAllText(Path.Combine(Place.Root, "docs/records.md"));
        var rows = Regex.Matches(page, @"^\| (\d+) \| (?:u16|i32|u32|u64) \| `(\w+)`", RegexOptions.Multiline).Take(13).ToArray();
        Assert.Equal(13, rows.Length);
        foreach (Match row in rows)
        {
            string field = string.Concat(row.Groups[2].Value.Split('_').Select(word => char.ToUpperInvariant(word[0]) + word[1..]));
            Assert.Equal(int.Parse(row.Groups[1].Value, null), (int)Marshal.OffsetOf<RawRecord>(field));
        }
    }

    [Fact]
    public void Kinds_and_statuses_are_the_headers()
    {
        foreach (FieldInfo constant in typeof(Native).GetFields(BindingFlags.Static | BindingFlags.NonPublic))
        {
            string name = Regex.Replace(constant.Name, "(?<!^)([A-Z])", "_$1").ToUpperInvariant();
            string? found = (constant.Name, constant.GetRawConstantValue()) switch
            {
                (_, ushort) when constant.Name == "Flag" => "REDMUX_FLAG_PATTERN 1",
                (_, ushort flag) when constant.Name == "Failed" => $"REDMUX_FLAG_FAILED {flag}",
                (_, ushort kind) => $"REDMUX_KIND_{name} {kind}",
                (_, int status) => $"REDMUX_{name} {status}",
                (_, uint abi) => $"REDMUX_ABI_VERSION {abi}",
                _ => null,
            };
            if (found is not null)
            {
                Assert.Contains($"#define {found}\n", Header, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public void The_reasons_are_the_headers()
    {
        var reasons = Regex.Matches(Header, @"#define REDMUX_REASON_(\w+) (\d+)").Select(reason => $"{reason.Groups[1].Value.Replace("_", "", StringComparison.Ordinal)} {reason.Groups[2].Value}");
        Assert.Equal(reasons, Enum.GetValues<GatherReason>().Select(reason => $"{reason.ToString().ToUpperInvariant()} {(int)reason}"));
    }

    [Fact]
    public void Every_status_has_an_exception_of_its_kind()
    {
        HashSet<string> plain = [];
        foreach (Match status in Regex.Matches(Header, @"#define REDMUX_ERR_(\w+) (-\d+)"))
        {
            Exception error = Failure.Of(int.Parse(status.Groups[2].Value, null), "it");
            if (error.GetType() == typeof(RedmuxException))
            {
                plain.Add(status.Groups[1].Value);
            }
            Assert.StartsWith("it: ", error.Message, StringComparison.Ordinal);
            if (error is RedmuxException redmux)
            {
                Assert.Equal(status.Groups[1].Value.ToLowerInvariant(), redmux.Kind);
            }
        }
        // A fork cannot be made from .NET; no memory, and a defect.
        Assert.Equal(["FORKED", "INTERNAL", "NO_MEMORY"], plain.Order());
    }

    public static TheoryData<string> Golden => new(Directory.GetFiles(Path.Combine(Place.Root, "tests/golden"), "*.json").Select(Path.GetFileNameWithoutExtension)!);

    [Theory]
    [MemberData(nameof(Golden))]
    public void Golden_blocks_are_decoded_to_the_letter(string name)
    {
        string wanted = File.ReadAllText(Path.Combine(Place.Root, "tests/golden", name + ".json"));
        byte[] block = File.ReadAllBytes(Path.Combine(Place.Root, "tests/golden", name + ".bin"));
        int count = (int)JsonNode.Parse(wanted)!["count"]!;
        ReadOnlySpan<RawRecord> records = MemoryMarshal.Cast<byte, RawRecord>(block.AsSpan(0, count * 64));
        ReadOnlySpan<byte> data = block.AsSpan(count * 64);
        string[] kinds = ["message", "active", "lost", "dropped", "done", "published", "promise", "refused", "request", "cancel", "accepted",
            "answer", "end", "mail", "gap", "question", "log", "state", "closed"];
        List<string> lines = [];
        foreach (ref readonly RawRecord r in records)
        {
            string kind = r.Kind >= 1 && r.Kind <= kinds.Length ? $"\"{kinds[r.Kind - 1]}\"" : "null";
            lines.Add(
                $"{{\"is\":{kind},\"kind\":{r.Kind},\"flags\":{r.Flags},\"status\":{r.Status},\"source\":{r.Source},\"token\":{r.Token},\"number\":{r.Number},"
                + $"\"aux\":{r.Aux},\"name_off\":{r.NameOff},\"name_len\":{r.NameLen},\"extra_off\":{r.ExtraOff},\"extra_len\":{r.ExtraLen},"
                + $"\"data_off\":{r.DataOff},\"data_len\":{r.DataLen},\"name\":{Part(r.Name(data))},\"extra\":{Part(r.Extra(data))},\"data\":{Part(r.Data(data))}}}");
            if (r.Kind is 9 or 12 or 13)
            {
                using var head = System.Text.Json.JsonDocument.Parse(r.Extra(data).ToArray());
                Head read = Head.Read(r.Extra(data));
                foreach (var (key, value) in new[] { ("id", read.Id), ("by", read.By), ("name", read.Name), ("code", read.Code), ("message", read.Message) })
                {
                    Assert.Equal(head.RootElement.TryGetProperty(key, out var said) ? said.GetString() : null, value);
                }
                Assert.Equal(head.RootElement.TryGetProperty("missing", out var missing) ? missing.GetArrayLength() : null, read.Missing?.Length);
            }
            // And a reader of subscriptions skips what it does not know.
            Assert.True(Decode.Event(r, data) is not null || r.Kind is not (Native.Active or Native.Lost or Native.Dropped or Native.Refused or Native.Closed));
        }
        string about = (string)JsonNode.Parse(wanted)!["about"]!;
        Assert.Equal(
            wanted,
            $"{{\n\"about\": \"{about}\",\n\"count\": {count},\n\"data_len\": {data.Length},\n\"records\": [\n{string.Join(",\n", lines)}\n]\n}}\n");
    }

    private static string Part(ReadOnlySpan<byte> data) =>
        data.ContainsAnyExceptInRange((byte)0x20, (byte)0x7e)
            ? $"{{\"hex\":\"{Convert.ToHexStringLower(data)}\"}}"
            : '"' + Encoding.ASCII.GetString(data).Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + '"';

    // --- loading

    [Fact]
    public void An_abi_mismatch_names_both_numbers()
    {
        var error = Assert.Throws<RedmuxLibraryException>(() => Library.CheckAbi(7, "libredmux.so"));
        Assert.Matches("ABI 7.*ABI 1", error.Message);
    }

    [Fact]
    public async Task A_miss_names_every_path_that_was_tried()
    {
        var ended = await Running.EndAsync("Probe", "_net10.0", ["publish"], ("REDMUX_LIBRARY", "/nowhere/libredmux.so"));
        Assert.NotEqual(0, ended.Status);
        Assert.Contains("/nowhere/libredmux.so", ended.Error, StringComparison.Ordinal);
        var error = Assert.Throws<RedmuxLibraryException>(() => Library.Load(["/one/libredmux.so", "/two/libredmux.so"]));
        Assert.Contains("/one/libredmux.so\n  /two/libredmux.so", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_library_is_looked_for_in_the_documented_order()
    {
        string[] candidates = [.. Library.Candidates()];
        int packaged = Array.FindIndex(candidates, path => path.Contains("/runtimes/", StringComparison.Ordinal));
        int checkout = Array.FindIndex(candidates, path => path == Path.Combine(Place.Root, "target/release/libredmux.so"));
        Assert.True(packaged >= 0 && (checkout > packaged || checkout < 0 && Environment.GetEnvironmentVariable("CARGO_TARGET_DIR") is not null));
    }
}
