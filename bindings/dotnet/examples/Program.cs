// The examples, one a file:  dotnet run --project bindings/dotnet/examples simple [redis://localhost] [...]

string? url = args.ElementAtOrDefault(1);
string[] more = [.. args.Skip(2)];

switch (args.FirstOrDefault())
{
    case "simple": await Simple.RunAsync(url); break;
    case "chat": await Chat.RunAsync(url); break;
    case "pattern": await Pattern.RunAsync(url, more); break;
    case "promises": await Promises.RunAsync(url, more); break;
    case "readme": await Readme.RunAsync(); break;
    case "broker": await Broker.RunAsync(url, more); break;
    case "hello": await Hello.RunAsync(url, more); break;
    case "total": await Total.RunAsync(url, more); break;
    case "total-count": await Demo.TotalCount.RunAsync(args[1..]); break;
    case "resource": await Resource.RunAsync(url, more); break;
    default: Console.Error.WriteLine("hello, total, total-count, resource, simple, chat, pattern, promises or broker?"); return 2;
}
return 0;
