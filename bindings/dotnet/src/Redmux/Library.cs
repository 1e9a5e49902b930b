namespace Redmux;

/// <summary>Finds the native library: REDMUX_LIBRARY, then what a package brought, then the checkout that the program was built in.</summary>
internal static unsafe class Library
{
    // What fails is tried again by the next call.
    private static readonly Lazy<nint> Loaded = new(() => Load([.. Candidates()]), LazyThreadSafetyMode.PublicationOnly);

    [ModuleInitializer]
    internal static void Register() => NativeLibrary.SetDllImportResolver(typeof(Library).Assembly, Resolve);

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search) => name == Native.Library ? Loaded.Value : 0;

    internal static nint Load(IReadOnlyList<string> candidates)
    {
        foreach (string path in candidates.Where(File.Exists))
        {
            nint library;
            try
            {
                library = NativeLibrary.Load(path);
            }
            catch (Exception error) when (error is DllNotFoundException or BadImageFormatException)
            {
                throw new RedmuxLibraryException($"{path} cannot be loaded: {error.Message}");
            }
            var version = (delegate* unmanaged<uint>)NativeLibrary.GetExport(library, nameof(Native.redmux_abi_version));
            CheckAbi(version(), path);
            return library;
        }
        throw new RedmuxLibraryException(
            $"libredmux is not here; tried, in this order:\n  {string.Join("\n  ", candidates)}\n"
            + "Install a package that carries it, build it (`make build` in redmux' checkout), or name it in REDMUX_LIBRARY.");
    }

    internal static void CheckAbi(uint found, string path)
    {
        if (found != Native.AbiVersion)
        {
            throw new RedmuxLibraryException($"{path} has ABI {found}, and this package was made for ABI {Native.AbiVersion}: install matching versions");
        }
    }

    /// <summary>Where it is looked for, in this order.</summary>
    internal static IEnumerable<string> Candidates()
    {
        if (Environment.GetEnvironmentVariable("REDMUX_LIBRARY") is { Length: > 0 } named)
        {
            yield return named;
            yield break;
        }
        string file = OperatingSystem.IsMacOS() ? "libredmux.dylib" : OperatingSystem.IsWindows() ? "redmux.dll" : "libredmux.so";
        string here = AppContext.BaseDirectory;
        // What the host read from deps.json; it knows runtimes/<rid>/native, single files and self-contained programs.
        string folders = AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "";
        string packaged = Path.Combine(here, "runtimes", RuntimeInformation.RuntimeIdentifier, "native");
        foreach (string folder in folders.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries).Append(packaged).Append(here))
        {
            yield return Path.Combine(folder, file);
        }
        for (DirectoryInfo? folder = new(here); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "include", "redmux.exports")))
            {
                yield return Path.Combine(folder.FullName, "target", "release", file);
                yield return Path.Combine(folder.FullName, "target", "debug", file);
            }
        }
    }
}
