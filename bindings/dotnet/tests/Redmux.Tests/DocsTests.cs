using System.Net;
using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Xunit;

namespace Redmux.Tests;

/// <summary>What is documented is compiled and run: the examples in the docs of the members, the README's programs, the examples.</summary>
public sealed class DocsTests(Fixture server) : WithServer(server)
{
    // --- the docs of the members

    /// <summary>Each example of a doc comment stands word for word in a file whose program a test below runs.</summary>
    [Theory]
    [InlineData("Redmux", "Documented.cs", 8)]
    [InlineData("Redmux.MessagingBuffer", "DocumentedMessaging.cs", 6)]
    public void Every_example_in_a_doc_comment_is_one_that_is_run(string assembly, string file, int least)
    {
        string documented = Squeezed(File.ReadAllText(Path.Combine(Place.Package, "tests/Redmux.Tests", file)));
        XDocument docs = XDocument.Load(Path.Combine(AppContext.BaseDirectory, $"{assembly}.xml"));
        string[] examples = [.. docs.Descendants("code").Select(code => Squeezed(code.Value))];
        Assert.True(examples.Length >= least);
        Assert.All(examples, example => Assert.Contains(example, documented, StringComparison.Ordinal));
    }

    private static string Squeezed(string code) =>
        Regex.Replace(Regex.Replace(code.Replace("\"redis://localhost\"", "URL", StringComparison.Ordinal), @"\bUrl(?= ?[),}])", "URL"), @"\s+", " ").Trim();

    [Fact]
    public async Task Every_documented_example_does_what_it_says() => await new Documented(Server.Url).RunAsync();

    [Fact]
    public async Task Every_documented_example_of_messaging_does_what_it_says() => await new DocumentedMessaging(Server.Url).RunAsync();

    // --- the public API

    /// <summary>Whoever changes what is public does it on purpose: REDMUX_BLESS=1 writes the file anew.</summary>
    [Theory]
    [InlineData(typeof(RedmuxClient), "PublicApi.txt")]
    [InlineData(typeof(MessagingBuffer.Messaging), "PublicApi.MessagingBuffer.txt")]
    public void The_public_api_is_the_one_that_is_written_down(Type one, string name)
    {
        string file = Path.Combine(Place.Package, "tests/Redmux.Tests", name);
        string found = PublicApi.Of(one.Assembly);
        if (Environment.GetEnvironmentVariable("REDMUX_BLESS") == "1")
        {
            File.WriteAllText(file, found);
        }
        Assert.Equal(File.ReadAllText(file), found);
    }

    // --- the README

    [Fact]
    public async Task B10_the_readmes_program_prints_its_own_output()
    {
        string readme = await File.ReadAllTextAsync(Path.Combine(Place.Package, "README.md"));
        string program = Regex.Match(readme, @"```csharp\n(using Redmux;.*?)```", RegexOptions.Singleline).Groups[1].Value;
        Assert.Equal(await File.ReadAllTextAsync(Path.Combine(Place.Package, "examples/Readme.cs")), program);
        string shown = Regex.Match(readme, @"```console\n(I heard .*?)```", RegexOptions.Singleline).Groups[1].Value;
        Assert.Equal((0, shown, ""), await Running.EndAsync("Examples", "", ["readme"], ("REDIS_URL", Server.Url)));
    }

    [Fact]
    public async Task The_readmes_request_is_the_example()
    {
        string readme = await File.ReadAllTextAsync(Path.Combine(Place.Package, "README.md"));
        string example = await File.ReadAllTextAsync(Path.Combine(Place.Package, "examples/Hello.cs"));
        Assert.Contains($"```csharp\n{example}```", readme, StringComparison.Ordinal);
    }

    // --- the examples

    private Running Start(params string[] arguments) => new("Examples", "", [arguments[0], Server.Url, .. arguments.Skip(1)]);

    [Fact]
    public async Task Example_simple()
    {
        using Running program = Start("simple");
        await program.ReadsAsync("channel: [mychannel] msg: [Hello World!]");
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task R1_example_hello_hears_every_instance()
    {
        await using var client = await RedmuxClient.ConnectAsync(new RedmuxOptions { Url = Server.Url, Name = "other" });
        await using var responder = await client.RespondAsync("hello", request => new($"hi {request.Text()}"));
        using Running program = Start("hello", "ann");
        string?[] answers = [await program.LineAsync(), await program.LineAsync()];
        Assert.Equal([$"hello ann, says {Environment.MachineName}", "hi ann, says other"], answers.Order());
        await program.ReadsAsync("All: 2 answers, 0 missing");
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task R1_example_total_counts_over_all_instances()
    {
        using Running one = Start("total", "5"), two = Start("total", "7");
        await one.ReadsAsync("counting 5");
        await two.ReadsAsync("counting 7");
        two.Says("?");
        await two.ReadsAsync("total: 12 of 2 instances, 0 missing");
        one.Process.StandardInput.Close();
        Assert.Equal(0, await one.EndedAsync());
        two.Says("?");
        await two.ReadsAsync("total: 7 of 1 instances, 0 missing");
        two.Process.StandardInput.Close();
        Assert.Equal(0, await two.EndedAsync());
    }

    /// <summary>The program, the settings and the lines of the page, with the tests' server in the settings.</summary>
    [Fact]
    public async Task R1_r18_example_total_count_runs_as_the_page_shows()
    {
        string page = await File.ReadAllTextAsync(Path.Combine(Place.Root, "docs/from-messaging-buffer.md"));
        string program = await File.ReadAllTextAsync(Path.Combine(Place.Package, "examples/TotalCount.cs"));
        Assert.Contains($"```csharp\n{program}```", page, StringComparison.Ordinal);
        string settings = Regex.Match(page, @"```json\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;
        DirectoryInfo folder = Directory.CreateTempSubdirectory("redmux-settings");
        try
        {
            string server = $"127.0.0.1:{Server.First["port"]}";
            Assert.Contains("localhost:6379", settings, StringComparison.Ordinal);
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "appsettings.json"), settings.Replace("localhost:6379", server, StringComparison.Ordinal));
            string[] arguments = ["total-count", "--contentRoot", folder.FullName];
            Running[] fleet = [.. Enumerable.Range(0, 5).Select(_ => new Running("Examples", "", arguments))];
            try
            {
                await Task.WhenAll(fleet.Select(instance => instance.ReadsAsync("counting")));
                foreach (string total in new[] { "total: 125 of 5 instances (All, 5 expected)", "total: 120 of 4 instances (All, 4 expected)" })
                {
                    Assert.Contains($"\n{total}\n", page, StringComparison.Ordinal);
                    fleet[1].Says("");
                    await fleet[1].ReadsAsync(total);
                    fleet[4].Process.StandardInput.Close();
                    Assert.Equal(0, await fleet[4].EndedAsync());
                }
            }
            finally
            {
                Array.ForEach(fleet, instance => instance.Dispose());
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task R12_the_environment_says_where_as_the_settings_do()
    {
        using Running program = new("Examples", "", ["total-count", "--Logging:LogLevel:Default=Warning"],
            ("Redis__RedisConnexionStrings__0", $"127.0.0.1:{Server.First["port"]},name=from-environment"));
        await program.ReadsAsync("counting");
        Assert.Contains(Server.Do("client_list")!.AsArray(), one => ((string)one!["name"]!).StartsWith("from-environment", StringComparison.Ordinal));
        program.Process.StandardInput.Close();
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task R17_example_resource_finds_who_holds_it()
    {
        using Running one = Start("resource", "node-1", "boat=red"), two = Start("resource", "node-2", "car=blue");
        string first = (await one.LineAsync())!, second = (await two.LineAsync())!;
        using HttpClient http = new();
        foreach (string node in new[] { first, second })
        {
            Assert.Equal("""{"boat":"red","holder":"node-1"}""", await http.GetStringAsync(new Uri(node + "/boat")));
            Assert.Equal("""{"car":"blue","holder":"node-2"}""", await http.GetStringAsync(new Uri(node + "/car")));
            using var nobody = await http.GetAsync(new Uri(node + "/plane"));
            Assert.Equal((HttpStatusCode.NotFound, """{"error":"no instance holds plane"}"""), (nobody.StatusCode, await nobody.Content.ReadAsStringAsync()));
        }
        foreach (Running node in new[] { one, two })
        {
            node.Process.StandardInput.Close();
            Assert.Equal(0, await node.EndedAsync());
        }
    }

    [Fact]
    public async Task B10_example_chat_is_interactive()
    {
        using Running program = Start("chat");
        program.Says("+lobby");
        await program.ReadsAsync("joined lobby");
        program.Says("!lobby Is anybody here?");
        program.Says("?");
        string?[] both = [await program.LineAsync(), await program.LineAsync()];
        Assert.Equal(["[lobby] Is anybody here?", "in 1 rooms: lobby"], both.Order());
        Assert.Equal(1, (int)Server.Do("kill_pubsub")!);
        Assert.StartsWith("*disconnected* ", await program.LineAsync(), StringComparison.Ordinal);
        await program.ReadsAsync("*connected again*");
        program.Says("-lobby");
        program.Says("q");
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task Example_pattern()
    {
        using Running program = Start("pattern", "news.*", "2");
        await program.ReadsAsync("active: [news.*]");
        Assert.Equal((1, 1), (Server.Publish("news.sport", "2:1"), Server.Publish("news.weather", "rain")));
        await program.ReadsAsync(
            "pattern: [news.*] channel: [news.sport] msg: [2:1]", "pattern: [news.*] channel: [news.weather] msg: [rain]");
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task Example_promises()
    {
        using Running program = Start("promises");
        await program.ReadsAsync("promise on [p:job-42]: [done]", "promise on [p:nobody]: nobody kept it");
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task B2_b4_example_broker_hears_seven_and_skips_bad_json()
    {
        using Running program = Start("broker");
        await program.ReadsAsync("listening on 5 channels");
        string[] first = ["orders", "users", "stock", "prices"], last = ["alerts", "orders", "orders"];
        foreach (string channel in first)
        {
            Assert.Equal(1, Server.Publish(channel, "{\"id\":1}"));
        }
        Assert.Equal(1, Server.Publish("alerts", "{bad"));
        foreach (string channel in last)
        {
            Assert.Equal(1, Server.Publish(channel, "{\"id\":2}"));
        }
        await program.ReadsAsync([.. first.Select(channel => $"{channel}: {{\"id\":1}}")]);
        Assert.StartsWith("skipped: bad JSON on 'alerts', 4 bytes: {bad: ", await program.LineAsync(), StringComparison.Ordinal);
        await program.ReadsAsync([.. last.Select(channel => $"{channel}: {{\"id\":2}}")]);
        Assert.Equal(0, await program.EndedAsync());
    }

    [Fact]
    public async Task B4_example_broker_ends_well_on_sigterm()
    {
        using Running program = Start("broker");
        await program.ReadsAsync("listening on 5 channels");
        using var kill = System.Diagnostics.Process.Start("kill", $"{program.Process.Id}");
        Assert.Equal(0, await program.EndedAsync());
    }
}

/// <summary>What an assembly shows: a line a member.</summary>
internal static class PublicApi
{
    internal static string Of(Assembly assembly)
    {
        StringBuilder text = new();
        foreach (Type type in assembly.GetExportedTypes().OrderBy(type => type.FullName, StringComparer.Ordinal))
        {
            string kind = type.IsEnum ? "enum" : type.IsInterface ? "interface" : type.IsValueType ? "struct" : type.IsAbstract && type.IsSealed ? "static class" : type.IsSealed ? "sealed class" : "class";
            string bases = string.Join(", ", new[] { type.BaseType }.Concat(type.GetInterfaces()).OfType<Type>()
                .Where(one => one != typeof(object) && one != typeof(ValueType) && one != typeof(Enum) && !type.IsEnum).Select(Name).Order(StringComparer.Ordinal));
            text.Append(kind).Append(' ').Append(type.FullName).Append(bases.Length > 0 ? " : " + bases : "").Append('\n');
            foreach (string member in type
                .GetMembers(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)
                .Where(member => Access(member) is not null).Select(Member).OfType<string>().Order(StringComparer.Ordinal))
            {
                text.Append("    ").Append(member).Append('\n');
            }
        }
        return text.ToString();
    }

    /// <summary>Nothing for what is public, a word for what derived classes see, null for what nobody sees.</summary>
    private static string? Access(MemberInfo member) => member switch
    {
        MethodBase method => method.IsPublic ? "" : method.IsFamily || method.IsFamilyOrAssembly ? "protected " : null,
        FieldInfo field => field.IsPublic ? "" : field.IsFamily || field.IsFamilyOrAssembly ? "protected " : null,
        PropertyInfo property => Access(property.GetMethod ?? property.SetMethod!),
        _ => null,
    };

    private static string? Member(MemberInfo member) => Shape(member) is { } shape ? Access(member) + shape : null;

    private static string? Shape(MemberInfo member) => member switch
    {
        FieldInfo { IsSpecialName: true } => null,
        FieldInfo { IsLiteral: true } field when field.DeclaringType!.IsEnum => $"{field.Name} = {Convert.ToInt32(field.GetRawConstantValue(), null)}",
        FieldInfo field => $"{(field.IsLiteral ? "const" : "readonly")} {Name(field.FieldType)} {field.Name}",
        PropertyInfo { Name: "EqualityContract" } => null,
        MethodInfo { Name: "PrintMembers" or "Finalize" } => null,
        PropertyInfo property => $"{Name(property.PropertyType)} {property.Name}{Indexer(property)} {{ get;{(property.SetMethod is { IsPublic: true } ? " set;" : "")} }}",
        ConstructorInfo constructor => $"new({Parameters(constructor)})",
        MethodInfo method when method.IsSpecialName || method.Name.StartsWith('<') => null,
        MethodInfo method => $"{(method.IsStatic ? "static " : method.IsAbstract && !method.DeclaringType!.IsInterface ? "abstract " : "")}{Name(method.ReturnType)} {method.Name}{(method.IsGenericMethod ? $"<{string.Join(", ", method.GetGenericArguments().Select(Name))}>" : "")}({Parameters(method)})",
        _ => null,
    };

    private static string Indexer(PropertyInfo property) =>
        property.GetIndexParameters() is { Length: > 0 } parameters ? $"[{string.Join(", ", parameters.Select(Parameter))}]" : "";

    private static string Parameters(MethodBase method) => string.Join(", ", method.GetParameters().Select(Parameter));

    private static string Parameter(ParameterInfo parameter) =>
        $"{(parameter.IsOut ? "out " : "")}{Name(parameter.ParameterType)} {parameter.Name}{(parameter.HasDefaultValue ? $" = {parameter.DefaultValue ?? "default"}" : "")}";

    private static string Name(Type type) =>
        type.IsByRef ? Name(type.GetElementType()!)
        : type.IsArray ? Name(type.GetElementType()!) + "[]"
        : type.IsGenericType ? $"{type.Name[..type.Name.IndexOf('`', StringComparison.Ordinal)]}<{string.Join(", ", type.GetGenericArguments().Select(Name))}>"
        : type.Name;
}
