//! Command lines of real programs, and the names that people would give them.

use std::collections::HashMap;

use super::*;

/// Packages that the processes below see.
fn files() -> HashMap<&'static str, &'static str> {
    HashMap::from([
        ("/srv/front/package.json", r#"{"name": "@shop/front", "version": "1.0.0"}"#),
        ("/app/package.json", r#"{"name": "checkout"}"#),
        ("/opt/generic/package.json", r#"{"name": "app"}"#),
        ("/opt/broken/package.json", r#"{"name": "#),
    ])
}

/// The name for a command line: words with spaces between them, in a working directory.
fn named(exe: &str, line: &str, cwd: &str) -> String {
    let args = line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let facts = Facts { exe: exe.to_owned(), args, cwd: cwd.to_owned(), ..Facts::default() };
    service_name(&facts, &files())
}

fn check(exe: &str, cases: &[(&str, &str, &str)]) {
    for (line, cwd, expected) in cases {
        assert_eq!(named(exe, line, cwd), *expected, "{line} in {cwd}");
    }
}

#[test]
fn python() {
    check(
        "/usr/bin/python3.11",
        &[
            ("python3 shop.py", "/srv", "shop"),
            ("python3 -u -X dev /srv/shop/cart.py --port 80", "/", "cart"),
            ("python3 main.py", "/srv/shop", "shop"),
            ("python3 /srv/shop/src/app.py", "/", "shop"),
            ("python3 app.py", "/app", "app"),
            ("python3 app.py", "/home/alice", "app"),
            ("python3 app.py", "/tmp/tmpx1y2z3", "app"),
            ("python3 -m shop", "/", "shop"),
            ("python3 -um shop.orders --x", "/", "shop.orders"),
            ("python3 -m shop.main", "/", "shop"),
            ("python3 -m http.server 8000", "/tmp", "http.server"),
            ("python3 -m uvicorn app:api", "/", "app"),
            ("python3 -m uvicorn app:api --host 0.0.0.0", "/srv/shop", "shop"),
            ("/usr/bin/python3 /usr/local/bin/uvicorn shop.main:app --port 80", "/app", "shop"),
            ("/usr/bin/python3 /usr/bin/gunicorn -w 4 -b 0.0.0.0:8000 shop.wsgi:application", "/app", "shop"),
            ("/usr/bin/python3 /usr/bin/gunicorn --bind=:80 shop.wsgi", "/app", "shop"),
            (
                "/usr/bin/python3 /usr/bin/gunicorn -b localhost:8000 main:create_app() -w 2",
                "/srv/cart",
                "cart",
            ),
            ("/usr/bin/python3 /usr/bin/hypercorn src.shop.asgi:app", "/", "shop"),
            ("/usr/bin/python3 /usr/bin/flask --app shop run", "/", "shop"),
            ("/usr/bin/python3 /usr/bin/flask run -p 5000", "/srv/cart", "cart"),
            ("/usr/bin/python3 /usr/bin/celery -A shop.tasks worker -l info", "/", "shop.tasks"),
            ("/usr/bin/python3 /usr/bin/celery --app=shop worker", "/", "shop"),
            ("python manage.py runserver 0.0.0.0:8000", "/srv/shop", "shop"),
            ("python /srv/shop/manage.py runserver", "/", "shop"),
            ("python3 -c import(os)", "/srv/shop", "shop"),
            ("python3 -c import(os)", "/", "unknown_service:python3.11"),
            ("python3", "/", "unknown_service:python3.11"),
        ],
    );
}

#[test]
fn workers_of_multiprocessing() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let worker =
        "python3 -c from_multiprocessing.spawn_import_spawn_main;_spawn_main() --multiprocessing-fork";
    let args: Vec<_> = words(worker).iter().map(|word| word.replace('_', " ")).collect();
    for (parent, cwd, expected) in [
        ("/usr/bin/python3 /usr/local/bin/uvicorn shop.main:app --workers 2", "/", "shop"),
        ("uvicorn shop.main:app --workers 2", "/", "shop"),
        ("/usr/bin/python3 -m hypercorn -w 2 app:asgi", "/srv/cart", "cart"),
        ("python3 /srv/shop/batch.py", "/", "batch"),
        ("python3 -c from multiprocessing.spawn", "/srv/shop", "shop"),
        ("python3", "/", "unknown_service:python3.11"),
    ] {
        let facts = Facts {
            exe: "/usr/bin/python3.11".to_owned(),
            args: args.clone(),
            parent: words(parent),
            cwd: cwd.to_owned(),
            ..Facts::default()
        };
        assert_eq!(service_name(&facts, &files()), expected, "{parent} in {cwd}");
    }
}

#[test]
fn titles() {
    for (exe, title, expected) in [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx -g daemon off;", "nginx"),
        ("/usr/bin/python3.11", "gunicorn: worker [shop:app]", "shop"),
        ("/usr/bin/python3.11", "gunicorn: master [shop.wsgi:application]", "shop"),
        (
            "/usr/bin/python3.11",
            "[celeryd: celery@box:MainProcess] -active- (worker -A shop -l info)",
            "shop",
        ),
        ("/usr/bin/ruby3.1", "puma 6.4.0 (tcp://0.0.0.0:3000) [shop]", "shop"),
        ("/usr/bin/ruby3.1", "puma: cluster worker 0: 17 [shop]", "shop"),
        ("/usr/bin/ruby3.1", "sidekiq 7.1.2 shop [0 of 5 busy]", "shop"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool shop", "shop"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", "php-fpm"),
        ("/usr/lib/postgresql/15/bin/postgres", "postgres: checkpointer ", "postgres"),
        ("/usr/bin/node", "next-server (v14.1.0)", "next-server"),
        ("/usr/bin/ruby3.1", "Passenger RackApp: /srv/shop/public (production)", "shop"),
    ] {
        let facts = Facts { exe: exe.to_owned(), args: vec![title.to_owned()], ..Facts::default() };
        assert_eq!(service_name(&facts, &files()), expected, "{title}");
    }
}

#[test]
fn node_deno_and_bun() {
    check(
        "/usr/bin/node",
        &[
            ("node server.js", "/srv/front", "front"),
            ("node src/index.js", "/srv/front", "front"),
            ("node /app/dist/server.js --port 80", "/", "checkout"),
            ("node server.js", "/srv/cart", "cart"),
            ("node server.js", "/opt/generic", "generic"),
            ("node server.js", "/opt/broken", "broken"),
            ("node index.js", "/usr/src/app", "index"),
            ("node cart.js", "/usr/src/app", "cart"),
            ("node -r dotenv/config --max-old-space-size=512 orders.js", "/x", "orders"),
            ("node --import tsx orders.ts", "/x", "orders"),
            ("node /srv/front/node_modules/.bin/next start", "/srv/front", "front"),
            ("node /usr/lib/node_modules/pm2/bin/pm2-runtime api.js", "/srv/cart", "cart"),
            ("node /usr/bin/npm start", "/srv/front", "front"),
            ("node -e 1", "/srv/front", "front"),
            ("node", "/", "unknown_service:node"),
        ],
    );
    check(
        "/usr/bin/deno",
        &[("deno run --allow-net cart.ts", "/", "cart"), ("deno serve main.ts", "/srv/shop", "shop")],
    );
    check(
        "/usr/bin/bun",
        &[
            ("bun run cart.ts", "/", "cart"),
            ("bun index.ts", "/app", "checkout"),
            ("bun run start", "/app", "checkout"),
        ],
    );
}

#[test]
fn java() {
    check(
        "/usr/lib/jvm/java-17/bin/java",
        &[
            ("java -jar shop-1.2.3.jar", "/", "shop"),
            ("java -Xmx1g -jar /srv/order-service-2.0-SNAPSHOT.jar --server.port=80", "/", "order-service"),
            ("java -jar shop-all.jar", "/", "shop"),
            ("java -jar shop-v2.jar", "/", "shop"),
            ("java -jar app.jar", "/srv/cart", "cart"),
            ("java -jar /app/app.jar", "/", "app"),
            ("java -jar shop.war", "/", "shop"),
            ("java -jar quarkus-run.jar", "/srv/cart/quarkus-app", "quarkus-app"),
            ("java -Dspring.application.name=cart -jar app.jar", "/", "cart"),
            ("java -jar app.jar --spring.application.name=cart", "/", "cart"),
            ("java -Dotel.service.name=explicit -jar shop.jar", "/", "explicit"),
            ("java -cp /a:/b com.shop.OrderService", "/", "OrderService"),
            ("java -cp /a:/b -Da=b com.shop.Main arg", "/", "shop"),
            ("java com.shop.MainKt", "/", "shop"),
            ("java -p mods -m shop/com.shop.Main", "/", "shop"),
            ("java -m shop.core", "/", "shop.core"),
            ("java Cart.java", "/", "Cart"),
            ("java -Dcatalina.base=/srv/cart org.apache.catalina.startup.Bootstrap start", "/", "cart"),
            (
                "java -Dcatalina.base=/var/lib/tomcat10 org.apache.catalina.startup.Bootstrap start",
                "/",
                "tomcat",
            ),
            ("java -Xmx1G kafka.Kafka server.properties", "/", "kafka"),
            ("java -cp x org.springframework.boot.loader.launch.JarLauncher", "/srv/cart", "cart"),
            ("java @args.txt com.shop.Cart", "/", "Cart"),
            ("java", "/", "unknown_service:java"),
        ],
    );
}

#[test]
fn others() {
    check(
        "/usr/bin/ruby3.1",
        &[
            ("ruby shop.rb", "/", "shop"),
            ("ruby app.rb", "/srv/cart", "cart"),
            ("ruby bin/rails server", "/srv/shop", "shop"),
            ("ruby /srv/shop/bin/rails server", "/", "shop"),
            ("ruby /usr/bin/puma -p 80", "/srv/shop", "shop"),
        ],
    );
    check(
        "/usr/bin/php8.2",
        &[
            ("php -S 0.0.0.0:80 -t /srv/shop/public", "/", "shop"),
            ("php artisan serve", "/var/www/shop", "shop"),
            ("php cart.php", "/", "cart"),
        ],
    );
    check(
        "/usr/share/dotnet/dotnet",
        &[
            ("dotnet /app/Shop.Orders.dll", "/", "Shop.Orders"),
            ("dotnet run --project src/Shop", "/", "Shop"),
            ("dotnet run", "/srv/shop", "shop"),
        ],
    );
    check("/usr/bin/perl", &[("perl -w shop.pl", "/", "shop"), ("perl -e 1", "/", "unknown_service:perl")]);
    check(
        "/bin/bash",
        &[
            ("bash -e deploy.sh", "/", "unknown_service:bash"),
            ("bash deploy.sh", "/", "deploy"),
            ("bash /dev/fd/3", "/", "unknown_service:bash"),
        ],
    );
    check("/usr/lib/erlang/bin/beam.smp", &[("beam.smp -- -sname shop@box", "/", "shop")]);
    check("/usr/local/bin/shop-api", &[("./shop-api --port 1", "/", "shop-api")]);
    check("/srv/cart/server", &[("./server", "/srv/cart", "cart")]);
    check("/server", &[("/server", "/", "server")]);
    check("/usr/bin/uwsgi", &[("uwsgi --http :80 --module shop.wsgi", "/", "shop")]);
    check("/usr/sbin/nginx", &[("nginx -g x", "/", "nginx")]);
    check("", &[("./x/y", "/", "y")]);
    check("", &[("", "/", "unknown_service")]);
}

#[test]
fn what_a_process_says_itself_comes_first() {
    let with = |variables: &[(&'static str, &str)]| {
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let args = ["python3", "guess.py"].map(str::to_owned).into();
        service_name(&Facts { args, variables, ..Facts::default() }, &files())
    };
    assert_eq!(
        with(&[("OTEL_SERVICE_NAME", "shop"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no")]),
        "shop"
    );
    assert_eq!(with(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=my%20shop%2Fx")]), "my shop/x");
    assert_eq!(with(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,broken")]), "guess");
    assert_eq!(with(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=%zz")]), "guess");
    assert_eq!(with(&[("OTEL_SERVICE_NAME", " ")]), "guess");
}

#[test]
fn a_unit_helps_where_the_command_line_does_not() {
    let facts = |group: &str| Facts {
        exe: "/usr/bin/python3.11".to_owned(),
        args: ["python3", "-c", "..."].map(str::to_owned).into(),
        cgroups: vec![group.to_owned()],
        ..Facts::default()
    };
    assert_eq!(service_name(&facts("/system.slice/shop.service"), &files()), "shop");
    assert_eq!(service_name(&facts("/system.slice/docker.service"), &files()), "unknown_service:python3.11");
    assert_eq!(service_name(&facts("/user.slice/user@1000.service"), &files()), "unknown_service:python3.11");
}

proptest::proptest! {
    /// Whatever a process is called and given, there is a name, and it can be shown.
    #[test]
    fn any_command_line_has_a_name(
        exe in "(/usr/bin/)?(python3|node|java|ruby|php|perl|dotnet|bash|busybox|beam.smp|deno|uwsgi|.{0,9})",
        args in proptest::collection::vec("(-m|-jar|-c|-A|--app|/|[./a-z:=-]{0,12}|.{0,12})", 0..7),
        title in "((gunicorn|puma|celeryd|php-fpm|Passenger|sidekiq|x): .{0,20})?",
        cwd in "(/[a-z/.]{0,12})?",
    ) {
        let titled = (!title.is_empty()).then_some(title);
        let args = titled.into_iter().chain(args).collect();
        let facts = Facts { exe, args, cwd, ..Facts::default() };
        let name = service_name(&facts, &files());
        proptest::prop_assert!(!name.is_empty() && name.chars().count() <= MAX_NAME + "unknown_service:".len());
        proptest::prop_assert!(!name.contains('/') && !name.chars().any(char::is_control), "{name:?}");
    }
}

#[test]
fn names_are_never_paths_and_never_long() {
    for line in ["python3 -m a/b/c", "python3 /", "node /a/b/", "java -jar /x/y/", "/bin/\u{1b}[31mred"] {
        let name = named("", line, "");
        assert!(!name.contains('/') && !name.contains('\u{1b}') && !name.is_empty(), "{line}: {name}");
    }
    let long = format!("python3 {}.py", "x".repeat(500));
    assert_eq!(named("", &long, "").len(), MAX_NAME);
}
