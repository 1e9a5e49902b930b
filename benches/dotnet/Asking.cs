// A question and its answer with redmux in .NET, as its README says: RequestAsync and RespondAsync, or Gather and all its answers.
//
//     redmux-dotnet ADDRESS serve                     a line on stdin: says what CPU time it has used
//     redmux-dotnet ADDRESS ask COUNT IN_FLIGHT
//     redmux-dotnet ADDRESS gather COUNT ANSWERS      one after another, each with so many answers
//
// What is compiled while a program runs is compiled before "ready".
using System.Globalization;
using Redmux;

internal static class Asking
{
    internal static async Task<bool> Run(string[] args)
    {
        if (args[1] is not ("serve" or "ask" or "gather")) { return false; }
        await using var client = await RedmuxClient.ConnectAsync($"redis://127.0.0.1:{args[0]}");
        if (args[1] == "serve")
        {
            await Serve(client);
            return true;
        }
        int count = int.Parse(args[2], CultureInfo.InvariantCulture), many = int.Parse(args[3], CultureInfo.InvariantCulture);
        if (args[1] == "ask")
        {
            await Measuring.InFlight(count, many, async body => Measuring.Check(body, (await client.RequestAsync("bench", body)).Data));
        }
        else
        {
            await Measuring.InFlight(count, 1, async body =>
            {
                List<Answer> answers = await client.Gather("bench", body).ToListAsync();
                if (answers.Count != many) { throw new InvalidOperationException($"{answers.Count} answers of {many}"); }
                answers.ForEach(answer => Measuring.Check(body, answer.Data));
            });
        }
        return true;
    }

    private static async Task Serve(RedmuxClient client)
    {
        await using var responder = await client.RespondAsync("bench", request => new(request.Data));
        Console.WriteLine("ready");
        // On a thread of its own: on a machine of one processor the pool has one, and makes another half a second after that one blocks.
        await Task.Factory.StartNew(Measuring.Tell, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }
}
