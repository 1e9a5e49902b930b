namespace Microsoft.Extensions.DependencyInjection;

/// <summary>redmux for dependency injection.</summary>
public static class RedmuxServiceCollectionExtensions
{
    /// <summary>Adds one <see cref="RedmuxClient"/> for the program. It is opened when it is first asked for, logs to the program's
    /// logging, and does not wait for the server.</summary>
    /// <param name="services">The program's services.</param>
    /// <param name="section">Where <c>Url</c> and any option of docs/options.md stand, spelled <c>PingInterval</c> or <c>ping_interval</c>;
    /// null is nothing.</param>
    /// <param name="configure">Changes what the section says.</param>
    public static IServiceCollection AddRedmux(this IServiceCollection services, IConfiguration? section = null, Action<IServiceProvider, RedmuxOptions>? configure = null)
    {
        services.TryAddSingleton(provider =>
        {
            RedmuxOptions options = new() { LoggerFactory = provider.GetService(typeof(ILoggerFactory)) as ILoggerFactory };
            if (section is not null) { options.Read(section); }
            configure?.Invoke(provider, options);
            return RedmuxClient.Open(options);
        });
        return services;
    }
}
