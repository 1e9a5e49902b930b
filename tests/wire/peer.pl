#!/usr/bin/perl
# A peer of redmux by docs/wire.md alone: it asks and it answers, over plain sockets, with what comes with Perl.
#
#   peer.pl serve PORT SERVICE [GROUP]              answers until it is ended; the body says what to do:
#       fail TEXT    an error                       parts N     N answers and an end without one
#       slow S       an answer after S seconds      silent      accepts it and never says more
#       busy         a retriable error              anything    the same in capitals
#   peer.pl ask PORT SERVICE BODY SECONDS [ENOUGH]  asks, prints answers, and how it ended
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use Time::HiRes qw(time);

$| = 1;
my ($mode, $port, $service, @rest) = @ARGV;
my $json = JSON::PP->new->utf8->canonical;
my $instance = join '-', 'perl', $$, int(time * 1e6);
my $name = "perl peer";

# --- Redis: two connections, one that hears and one that speaks ------------------------------------------------------

sub dial { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") // die "cannot connect to port $port: $@\n" }

sub send_command {
    my ($socket, @words) = @_;
    my $bytes = join '', '*' . @words . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @words;
    for (my $sent = 0 ; $sent < length $bytes ;) {
        $sent += syswrite($socket, $bytes, length($bytes) - $sent, $sent) // die "write: $!\n";
    }
}

# A whole reply at the beginning of the buffer is taken from it and returned in a list; an empty list if it is not whole.
sub parse {
    my ($buffer) = @_;
    my $at = 0;
    my $one;
    $one = sub {
        my $end = index $$buffer, "\r\n", $at;
        return if $end < 0;
        my ($type, $value) = (substr($$buffer, $at, 1), substr($$buffer, $at + 1, $end - $at - 1));
        $at = $end + 2;
        if ($type eq '$') {
            return [undef] if $value < 0;
            return if length($$buffer) < $at + $value + 2;
            my $bytes = substr $$buffer, $at, $value;
            $at += $value + 2;
            return [$bytes];
        }
        if ($type eq '*') {
            my @items;
            for (1 .. $value) { my $item = $one->() or return; push @items, $item->[0] }
            return [\@items];
        }
        die "Redis says: $value\n" if $type eq '-';
        return [$value];
    };
    my $got = $one->() or return;
    substr($$buffer, 0, $at, '');
    return $got->[0];
}

my ($hears, $speaks) = (dial(), dial());
my ($heard, $answered) = ('', '');

sub ask_redis {
    send_command($speaks, @_);
    while (1) {
        my @reply = parse(\$answered);
        return $reply[0] if @reply;
        sysread($speaks, $answered, 65536, length $answered) or die "the connection that speaks is lost\n";
    }
}

# The next message, [channel, payload], or nothing when the time is over.
my $select = IO::Select->new($hears);

sub message {
    my ($until) = @_;
    while (1) {
        my @reply = parse(\$heard);
        if (@reply) {
            return [@{ $reply[0] }[1, 2]] if $reply[0][0] eq 'message';
            next;
        }
        my $left = $until - time;
        return if $left <= 0;
        next unless $select->can_read($left);
        sysread($hears, $heard, 65536, length $heard) or die "the connection that hears is lost\n";
    }
}

sub subscribe {
    my (@channels) = @_;
    send_command($hears, 'SUBSCRIBE', @channels);
    for (@channels) {    # one acknowledgement for each
        my @reply;
        until (@reply = parse(\$heard)) {
            sysread($hears, $heard, 65536, length $heard) or die "the connection that hears is lost\n";
        }
    }
}

# --- frames -----------------------------------------------------------------------------------------------------------

sub frame {
    my ($kind, $head, $body) = @_;
    return $json->encode({ v => 1, k => $kind, %$head }) . "\n" . ($body // '');
}

sub read_frame {
    my ($payload) = @_;
    my $end = index $payload, "\n";
    return if $end < 0;
    my $head = eval { $json->decode(substr $payload, 0, $end) } or return;
    return if ref $head ne 'HASH' || ($head->{v} // 0) != 1;
    return ($head, substr $payload, $end + 1);
}

# --- to answer --------------------------------------------------------------------------------------------------------

my %work;    # requests in work, by id
my ($requests, $errors) = (0, 0);

# What names a request in all that is said of it.
sub asked {
    my ($one) = @_;
    return { id => $one->{id}, defined $one->{asking} ? (asking => $one->{asking}) : () };
}

sub say_frame {
    my ($one, $kind, $head, $body) = @_;
    my $by = { %{ asked($one) }, by => "$instance.1", name => $name };
    ask_redis('PUBLISH', $one->{reply}, frame($kind, { %$by, %$head }, $body));
}

sub take {
    my ($head, $body, $group) = @_;
    my $one = { id => $head->{id}, asking => $head->{asking}, reply => $head->{reply} };
    $requests++;
    my $ttl = $head->{ttl} // 10_000;
    if (defined $group) {
        my $asking = $one->{asking} // $one->{id};
        my $key = "redmux:claim:$asking:$group";
        return say_frame($one, 'declined', {}) unless ask_redis('SET', $key, "$instance.1", 'NX', 'PX', $ttl);
    }
    if ($body =~ /^fail (.*)/s) {
        $errors++;
        return say_frame($one, 'error', { code => 'FAILED', message => $1 });
    }
    if ($body eq 'busy') {
        return say_frame($one, 'error', { code => 'BUSY', message => 'no room', retriable => JSON::PP::true });
    }
    if ($body =~ /^parts (\d+)/) {
        say_frame($one, 'part', { seq => $_ }, "part $_") for 0 .. $1 - 1;
        return say_frame($one, 'end', {});
    }
    if ($body =~ /^(?:slow ([\d.]+)|silent)/) {
        say_frame($one, 'accepted', {});
        my $now = time;
        $work{ $one->{id} } = { %$one, done => $1 && $now + $1, expires => $now + $ttl / 1000, silent => !$1 };
        return;
    }
    my $headers = $head->{h} ? { h => $head->{h} } : {};
    say_frame($one, 'end', { seq => 0, %$headers }, uc $body);
}

sub discover {
    my ($head, $body, $group) = @_;
    my $service_about = { service => $service, catch_all => JSON::PP::false, group => $group // '', version => 'perl' };
    my $about = { name => $name, instance => $instance, version => '1', services => [$service_about] };
    my %stats = (requests => $requests, errors => $errors, in_work => scalar keys %work, waiting => 0, average_ms => 0);
    my $answer =
        $body eq 'PING'  ? 'PONG'
      : $body eq 'INFO'  ? $json->encode($about)
      : $body eq 'STATS' ? $json->encode({ %$about, services => [{ %$service_about, %stats }] })
      :                    undef;
    my $by = { %{ asked($head) }, by => "$instance.0", name => $name };
    my $out = defined $answer
      ? frame('end', { %$by, seq => 0 }, $answer)
      : frame('error', { %$by, code => 'UNKNOWN', message => 'neither PING, INFO nor STATS' });
    ask_redis('PUBLISH', $head->{reply}, $out);
}

sub serve {
    my ($group) = @_;
    subscribe("redmux:svc:$service", 'redmux:svc:$');
    print "serving\n";
    my $next_alive = time + 1;
    while (1) {
        my ($due) = sort { $a <=> $b } $next_alive, grep { $_ } map { @$_{qw(done expires)} } values %work;
        my $message = message($due);
        if ($message) {
            my ($head, $body) = read_frame($message->[1]) or next;
            if ($head->{k} eq 'cancel') {
                my $one = $work{ $head->{id} };
                my $other = $one && defined $head->{asking} && ($one->{asking} // '') ne $head->{asking};
                print "cancelled $head->{id}\n" if $one && !$other && delete $work{ $head->{id} };
            } elsif ($head->{k} eq 'request' && $head->{id} && $head->{reply} && ($head->{not} // '') ne $instance) {
                $message->[0] eq 'redmux:svc:$' ? discover($head, $body, $group) : take($head, $body, $group);
            }
            next;
        }
        my $now = time;
        for my $one (values %work) {
            if ($one->{done} && $one->{done} <= $now) {
                say_frame($one, 'end', { seq => 0 }, 'at last');
                delete $work{ $one->{id} };
            } elsif ($one->{expires} <= $now) {
                print "gave up $one->{id}\n";
                delete $work{ $one->{id} };
            }
        }
        next if $next_alive > $now;
        $next_alive = $now + 1;
        my %askers;
        push @{ $askers{ $_->{reply} } }, $_->{id} for grep { !$_->{silent} } values %work;
        for my $reply (keys %askers) {
            my $head = { ids => $askers{$reply}, by => "$instance.1", name => $name };
            ask_redis('PUBLISH', $reply, frame('alive', $head));
        }
    }
}

# --- to ask -----------------------------------------------------------------------------------------------------------

sub ask {
    my ($body, $seconds, $enough) = @_;
    my ($id, $reply) = ("$instance.q1", "redmux:reply:$instance");
    subscribe($reply);
    my $now = time;
    my $deadline = $now + $seconds;
    my $head = { id => $id, from => $name, reply => $reply, ttl => int($seconds * 1000), attempt => 1, h => { lang => 'perl' } };
    my $n = ask_redis('PUBLISH', "redmux:svc:$service", frame('request', $head, $body));
    print "n $n\n";
    my $window = time + 1;
    my (%who, %had);    # responders by `by`; answers by `by` and `seq`
    my $why;
    until ($why) {
        $now = time;
        $_->{at} = 'lost' for grep { $_->{at} eq 'working' && $_->{seen} + 3.2 <= $now } values %who;
        my @finished = grep { $_->{at} ne 'working' } values %who;
        my $all = @finished >= $n || $now >= $window && @finished == keys %who;
        if ($all) {
            $why = (grep { $_->{at} ne 'declined' } values %who) ? 'all' : 'nobody';
        } elsif ($enough && keys %had >= $enough) {
            $why = 'enough';
            ask_redis('PUBLISH', "redmux:svc:$service", frame('cancel', { id => $id }));
        } elsif ($now >= $deadline) {
            $why = 'deadline';
        }
        last if $why;
        my @due = ($deadline, $window > $now ? $window : (), map { $_->{seen} + 3.2 } grep { $_->{at} eq 'working' } values %who);
        my $message = message((sort { $a <=> $b } @due)[0]) or next;
        my ($head, $body) = read_frame($message->[1]) or next;
        next unless grep { $_ eq $id } $head->{id} // (), @{ $head->{ids} // [] };
        my $one = $who{ $head->{by} } //= { at => 'working', name => $head->{name} // $head->{by} };
        $one->{seen} = time;
        $one->{at} = 'working' if $one->{at} eq 'lost';
        my $kind = $head->{k};
        if (defined $head->{seq} && !$had{"$head->{by} $head->{seq}"}++) {
            print "answer $one->{name} $head->{seq}: $body\n";
        }
        print "error $one->{name} $head->{code}: $head->{message}\n" if $kind eq 'error';
        $one->{at} = 'finished' if $kind eq 'end' || $kind eq 'error';
        $one->{at} = 'declined' if $kind eq 'declined';
    }
    print "missing $_\n" for sort map { $_->{name} } grep { $_->{at} =~ /working|lost/ } values %who;
    print "end $why\n";
}

if    ($mode eq 'serve') { serve(@rest) }
elsif ($mode eq 'ask')   { ask(@rest) }
else                     { die "peer.pl serve|ask PORT SERVICE ...\n" }
