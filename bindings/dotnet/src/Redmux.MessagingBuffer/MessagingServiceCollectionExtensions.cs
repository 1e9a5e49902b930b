namespace Redmux.MessagingBuffer
{
    /// <summary>What is registered with <see cref="IMessaging"/>.</summary>
    public sealed class MessagingConfigurator
    {
        private readonly IServiceCollection _services;

        internal MessagingConfigurator(IServiceCollection services) => _services = services;

        /// <summary>Registers the handler of a type, which the host subscribes when it starts.</summary>
        /// <exception cref="SubscriptionException">The type has one.</exception>
        public MessagingConfigurator RegisterHandler<TRequest, [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] THandler>()
            where TRequest : RequestBase where THandler : HandlerBase<TRequest>
        {
            string type = Bodies.NameOf(typeof(TRequest));
            if (_services.Any(service => service.ImplementationInstance is Registered other && other.Type == type))
            {
                throw new SubscriptionException($"{type} has a handler, and {typeof(THandler).Name} would be a second one");
            }
            _services.TryAddSingleton<THandler>();
            _services.AddSingleton(new Registered(type, static (services, ct) => services.GetRequiredService<THandler>().SubscribeAsync(ct)));
            return this;
        }

        /// <summary>Registers a buffer and its request, each made anew when it is asked for.</summary>
        public MessagingConfigurator AddBuffer<
            [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TBuffer,
            [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TRequest, TResponse>()
            where TBuffer : RequestBufferBase<TRequest, TResponse> where TRequest : RequestBase where TResponse : ResponseBase
        {
            _services.TryAddTransient<TRequest>();
            _services.TryAddTransient<TBuffer>();
            return this;
        }

        /// <summary>Registers a buffer, its request, and its handler.</summary>
        /// <exception cref="SubscriptionException">The type has a handler.</exception>
        public MessagingConfigurator AddBuffer<
            [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TBuffer,
            [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] TRequest, TResponse,
            [DynamicallyAccessedMembers(DynamicallyAccessedMemberTypes.PublicConstructors)] THandler>()
            where TBuffer : RequestBufferBase<TRequest, TResponse> where TRequest : RequestBase where TResponse : ResponseBase where THandler : HandlerBase<TRequest> =>
            AddBuffer<TBuffer, TRequest, TResponse>().RegisterHandler<TRequest, THandler>();

        /// <summary>Changes what the section says.</summary>
        /// <param name="change">How.</param>
        public MessagingConfigurator Configure(Action<RedisOptions> change)
        {
            _services.AddSingleton(new Changed(change));
            return this;
        }

        internal sealed record Registered(string Type, Func<IServiceProvider, CancellationToken, Task> SubscribeAsync);

        internal sealed record Changed(Action<RedisOptions> Change);

        /// <summary>Handlers work from the host's start to its stop.</summary>
        internal sealed class AtWork(Messaging messaging) : IHostedService
        {
            public Task StartAsync(CancellationToken cancellationToken) => messaging.SubscribeHandlersAsync(cancellationToken);

            public Task StopAsync(CancellationToken cancellationToken) => messaging.DrainAsync(cancellationToken);
        }
    }
}

namespace Microsoft.Extensions.DependencyInjection
{
    using Redmux;
    using Redmux.MessagingBuffer;

    /// <summary>Messaging.Buffer's way for dependency injection.</summary>
    public static class MessagingServiceCollectionExtensions
    {
        /// <summary>Adds <see cref="IMessaging"/>, with types from a JsonSerializerContext: safe for trimming and AOT.</summary>
        /// <param name="services">The program's services.</param>
        /// <param name="section">Where <c>RedisConnexionStrings</c>, <c>Timeout</c> and <c>Wire</c> stand; without a connection string the program's
        /// <see cref="RedmuxClient"/> is used.</param>
        /// <param name="types">How requests and responses are written and read: <c>MyJson.Default</c>.</param>
        /// <param name="configure">Registers handlers and buffers.</param>
        public static IServiceCollection AddMessagingBuffer(
            this IServiceCollection services, IConfiguration section, IJsonTypeInfoResolver types, Action<MessagingConfigurator>? configure = null)
        {
            ArgumentNullException.ThrowIfNull(section);
            services.AddRedmux();
            services.TryAddSingleton(provider =>
            {
                RedisOptions options = RedisOptions.Of(section);
                options.LoggerFactory = provider.GetService<ILoggerFactory>();
                foreach (var changed in provider.GetServices<MessagingConfigurator.Changed>())
                {
                    changed.Change(options);
                }
                if (options.RedisConnexionStrings.Count == 0) { options.Client ??= provider.GetRequiredService<RedmuxClient>(); }
                return new Messaging(options, types)
                {
                    Handlers = provider.GetServices<MessagingConfigurator.Registered>().ToDictionary(
                        one => one.Type, one => (Func<CancellationToken, Task>)(ct => one.SubscribeAsync(provider, ct))),
                };
            });
            services.TryAddSingleton<IMessaging>(provider => provider.GetRequiredService<Messaging>());
            services.AddHostedService<MessagingConfigurator.AtWork>();
            configure?.Invoke(new MessagingConfigurator(services));
            return services;
        }

        /// <summary>Adds <see cref="IMessaging"/>, with types by reflection.</summary>
        /// <param name="services">The program's services.</param>
        /// <param name="section">Where <c>RedisConnexionStrings</c>, <c>Timeout</c> and <c>Wire</c> stand; without a connection string the program's
        /// <see cref="RedmuxClient"/> is used.</param>
        /// <param name="configure">Registers handlers and buffers.</param>
        [RequiresUnreferencedCode(Bodies.Reflects), RequiresDynamicCode(Bodies.Reflects)]
        public static IServiceCollection AddMessagingBuffer(this IServiceCollection services, IConfiguration section, Action<MessagingConfigurator>? configure = null) =>
            services.AddMessagingBuffer(section, Bodies.Reflection(), configure);
    }
}
