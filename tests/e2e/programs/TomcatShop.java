import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.File;
import java.io.IOException;
import org.apache.catalina.startup.Tomcat;

/** A servlet in an embedded Tomcat: NIO connector, pool of threads, as Spring Boot has it. Argument: a folder. */
public class TomcatShop {
    static class Servlet extends HttpServlet {
        @Override
        protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
            int length = request.getInputStream().readAllBytes().length;
            String[] path = request.getRequestURI().split("/");
            int number = path.length > 2 ? Integer.parseInt(path[2]) : 0;
            switch (path[1]) {
                case "status" -> response.setStatus(number);
                case "bytes" -> {
                    response.setContentLength(number);
                    response.getOutputStream().write(new byte[number]);
                }
                case "chunks" -> response.getOutputStream().write(new byte[number]);
                case "throws" -> throw new IllegalStateException("as asked");
                default -> response.getOutputStream().print(length);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        var tomcat = new Tomcat();
        tomcat.setBaseDir(args[0]);
        tomcat.setPort(0);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        var context = tomcat.addContext("", new File(args[0]).getAbsolutePath());
        Tomcat.addServlet(context, "shop", new Servlet());
        context.addServletMappingDecoded("/*", "shop");
        tomcat.start();
        System.out.println("PORT " + tomcat.getConnector().getLocalPort());
        tomcat.getServer().await();
    }
}
