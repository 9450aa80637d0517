import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.AccountsApi;
import org.openapitools.client.api.ClustersApi;
import org.openapitools.client.api.JobsApi;
import org.openapitools.client.model.Code;
import org.openapitools.client.model.CreateClusterRequest;
import org.openapitools.client.model.CreateJobRequest;
import org.openapitools.client.model.CreatePersonalAccessTokenRequest;
import org.openapitools.client.model.Job;
import org.openapitools.client.model.JobArgs;
import org.openapitools.client.model.JobState;
import org.openapitools.client.model.JobSubject;
import org.openapitools.client.model.JobType;
import org.openapitools.client.model.Problem;
import org.openapitools.client.model.Scope;
import org.openapitools.client.model.Scopes;
import org.openapitools.client.model.SignInRequest;
import org.openapitools.client.model.UpdateClusterRequest;

/** The client of openapi-generator (java, library native) against a manager. */
public class Walk {
    static final String NAME = "client-java";

    interface Call {
        void run() throws ApiException;
    }

    static String env(String name, String otherwise) {
        return Optional.ofNullable(System.getenv(name)).orElse(otherwise);
    }

    static ApiClient as(String token) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(env("MANAGER_URL", "http://127.0.0.1:8080"));
        // This library knows no security schemes.
        if (token != null) {
            client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + token));
        }
        return client;
    }

    static void ensure(boolean good, Object... surprise) {
        if (!good) {
            throw new IllegalStateException(List.of(surprise).toString());
        }
    }

    static void done(String step) {
        System.out.println("java: " + step);
    }

    /** What the manager says is wrong; the call must fail. */
    static Problem problem(Call call) throws Exception {
        try {
            call.run();
        } catch (ApiException error) {
            return new ApiClient().getObjectMapper().readValue(error.getResponseBody(), Problem.class);
        }
        throw new IllegalStateException("a call that must fail did not");
    }

    /** Names on all pages, one a page, as the `Link` header leads. */
    static List<String> namesOfPages(ClustersApi clusters) throws ApiException {
        List<String> names = new ArrayList<>();
        for (long page = 1;; page++) {
            var answer = clusters.listClustersWithHttpInfo(page, 1L, null);
            ensure(answer.getData().size() <= 1, "page", page, answer.getData());
            answer.getData().forEach(cluster -> names.add(cluster.getName()));
            List<String> links = answer.getHeaders().getOrDefault("link", List.of());
            if (links.stream().noneMatch(link -> link.contains("rel=next"))) {
                return names;
            }
        }
    }

    /** A job that is asked for until it ends. */
    static void preheat(JobsApi jobs) throws Exception {
        JobArgs args = new JobArgs().type(JobSubject.FILE).url(env("PREHEAT_URL", "https://example.com/"));
        Job job = jobs.createJob(new CreateJobRequest().type(JobType.PREHEAT).args(args));
        long until = System.nanoTime() + 60_000_000_000L;
        while (job.getState() != JobState.SUCCESS && job.getState() != JobState.FAILURE) {
            ensure(System.nanoTime() < until, "the job is", job.getState());
            Thread.sleep(100);
            job = jobs.getJob(job.getId());
        }
        ensure(job.getState() == JobState.SUCCESS, "the job failed", job.getResult());
        long id = job.getId();
        jobs.deleteJob(id);
        ensure(problem(() -> jobs.getJob(id)).getCode() == Code.NOT_FOUND, "the job is still there", id);
        done("file preheated, job deleted");
    }

    public static void main(String[] arguments) throws Exception {
        SignInRequest root = new SignInRequest().name("root").password(env("MANAGER_PASSWORD", "dragonfly"));
        var session = new AccountsApi(as(null)).signIn(root);
        ensure(session.getUser().getName().equals("root"), "signed in as", session.getUser());
        ensure(session.getExpire().isAfter(OffsetDateTime.now()), "the session ended at", session.getExpire());
        AccountsApi accounts = new AccountsApi(as(session.getToken()));
        ClustersApi clusters = new ClustersApi(as(session.getToken()));
        done("signed in as " + session.getUser().getName());

        Scopes scopes = new Scopes().idc("java-1|java-2").addCidrsItem("10.4.0.0/16").addHostnamesItem("^java-");
        var request = new CreateClusterRequest().name(NAME).bio("made by a test").scopes(scopes);
        var made = clusters.createCluster(request);
        ensure(made.getName().equals(NAME) && made.getScopes().getCidrs().equals(scopes.getCidrs()), "made", made);
        ensure(made.getPeerClusterConfig().getLoadLimit() == 200, "made", made);
        done("cluster " + made.getId() + " made");

        var changed = clusters.updateCluster(made.getId(), new UpdateClusterRequest().bio("changed").strict(true));
        ensure(changed.getBio().equals("changed") && changed.getStrict(), "changed to", changed);
        ensure(changed.getScopes().equals(made.getScopes()), "the change lost the scopes", changed);
        done("cluster changed");

        List<String> names = namesOfPages(clusters);
        ensure(names.size() > 1 && names.contains(NAME), "the pages have", names);
        done(names.size() + " pages of clusters");

        preheat(new JobsApi(as(session.getToken())));

        var token = accounts.createPersonalAccessToken(new CreatePersonalAccessTokenRequest()
                .name(NAME).addScopesItem(Scope.CLUSTER).expiredAt(OffsetDateTime.now().plusHours(1)));
        ensure(token.getToken() != null, "the new token has no secret");
        var read = new ClustersApi(as(token.getToken())).getCluster(made.getId());
        ensure(read.getName().equals(NAME), "the token read", read);
        AccountsApi program = new AccountsApi(as(token.getToken()));
        Code refused = problem(() -> program.listUsers(null, null, null)).getCode();
        ensure(refused == Code.FORBIDDEN || refused == Code.UNAUTHENTICATED, "refused with", refused);
        done("personal access token reads the cluster, and no users: " + refused);

        accounts.deletePersonalAccessToken(token.getId());
        clusters.deleteCluster(made.getId());
        Problem gone = problem(() -> clusters.getCluster(made.getId()));
        ensure(gone.getStatus() == 404 && gone.getCode() == Code.NOT_FOUND, "after deletion", gone);
        done("token and cluster deleted");

        accounts.signOut();
        Problem out = problem(accounts::getSession);
        ensure(out.getCode() == Code.UNAUTHENTICATED, "after signing out", out);
        done("signed out");
    }
}
